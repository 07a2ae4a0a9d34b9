/** Replaces the image: with one dropped anywhere on the widget, pasted, or chosen. */
import type { WidgetState } from "../state/widget-state.ts";
import { enable, textButton } from "../ui/buttons.ts";
import { box, claim, element } from "../ui/dom.ts";
import { message, NO_KERNEL, refusal } from "../ui/message.ts";
import type { Scope } from "../ui/scope.ts";

/** Return the line beneath the image, and `over`, which covers the image during a drag over the widget. */
export function imageUpload(
  root: HTMLElement,
  state: WidgetState,
  scope: Scope,
): { node: HTMLElement; over: HTMLElement } {
  const { questions, answering: able } = state;
  const file = element("input", "", {
    type: "file",
    accept: "image/*",
    hidden: "",
    tabindex: "-1",
    "data-testid": "exclip-file",
  });
  const choose = textButton("Replace image", "exclip-choose", scope, () => file.click());
  const sent = message("exclip-uploading", "status");
  const refused = refusal("image");
  const node = box("exclip-source", file, choose, sent.node, refused.node);
  const over = element("div", "exclip-over", { "aria-hidden": "true" }, "Drop the image");

  scope.effect(() => {
    const question = questions.open.value.image;
    node.hidden = state.choices.value === null;
    const hint = "Choose a file, or drop or paste one anywhere here";
    enable(choose, able.value, able.value ? hint : NO_KERNEL);
    const percent = Math.round(100 * (question?.sent ?? 0));
    const far = percent < 100 ? `${percent} %` : "reading…";
    sent.show(question?.refused === null ? `${(question.value as File).name} · ${far}` : null);
    refused.show(question?.refused);
  });

  function take(files: FileList | null | undefined): boolean {
    const first = files?.[0];
    if (!first || !able.peek()) return false;
    questions.upload(first);
    return true;
  }

  scope.on(file, "change", () => {
    take(file.files);
    file.value = ""; // so that the same file can be chosen again
  });

  scope.on(root, "paste", (event) => {
    const { clipboardData: pasted, target } = event;
    // Office copies text as a picture of it, too: where text is written, it is meant as text.
    const isText = pasted?.types.includes("text/plain") && (target as Element).matches("textarea");
    if (!isText && take(pasted?.files)) claim(event);
  });
  const drags = (event: DragEvent) => {
    if (!event.dataTransfer?.types.includes("Files")) return false;
    // Otherwise the browser would leave the page and open the file.
    claim(event);
    return able.peek();
  };
  const hover = (over: boolean) => root.classList.toggle("exclip-dropping", over);
  scope.on(root, "dragover", (event) => {
    if (drags(event)) hover(true);
  });
  scope.on(root, "dragleave", ({ relatedTarget }) => {
    if (!root.contains(relatedTarget as Node | null)) hover(false);
  });
  scope.on(root, "drop", (event) => {
    hover(false);
    if (drags(event)) take(event.dataTransfer?.files);
  });
  return { node, over };
}
