/** Edits a caption in place: Enter explains it, Esc cancels, and a refusal says why. */
import { type ReadonlySignal, signal } from "@preact/signals-core";
import type { TextName } from "../protocol.ts";
import type { ExplainedText } from "../state/looks.ts";
import type { WidgetState } from "../state/widget-state.ts";
import { textButton } from "../ui/buttons.ts";
import { box, element, give } from "../ui/dom.ts";
import { isSaving } from "../ui/host-keys.ts";
import { message, refusal } from "../ui/message.ts";
import type { Scope } from "../ui/scope.ts";

export interface Editor {
  node: HTMLElement;
  /** Shows what became of it. */
  answer: HTMLElement;
  readonly open: ReadonlySignal<boolean>;
  /** Start with a text and its selected words; `home` gets the focus when it is over. */
  start(from: ExplainedText, home: HTMLElement): void;
}

export function editor(part: TextName, name: string, state: WidgetState, scope: Scope): Editor {
  const { questions } = state;
  const open = signal(false);
  /** What was asked for and has not been answered yet. */
  let asked: string | null = null;
  /** What was written when there was nothing to ask. */
  let before = "";
  let home: HTMLElement | null = null;

  const field = element("textarea", "exclip-caption exclip-field", {
    "data-testid": `exclip-field-${part}`,
    "aria-label": name,
    autocapitalize: "off",
    autocomplete: "off",
    dir: "auto",
    enterkeyhint: "go",
    rows: "1",
    spellcheck: "false",
  });
  const way = (text: string, act: () => void) => textButton(text, "exclip-way", scope, act);
  const ways = box("exclip-ways", way("Explain (Enter)", ask), way("Cancel (Esc)", close));
  const node = box("", field, ways);
  const waiting = message("exclip-waiting", "status");
  const refused = refusal(part);
  const answer = box("exclip-answer", waiting.node, refused.node);

  /** Return the field's text as one line, however it was pasted. */
  const written = () => field.value.replaceAll(/\s*\n\s*/g, " ");

  function grow(): void {
    field.style.height = "0";
    field.style.height = `${field.scrollHeight + field.offsetHeight - field.clientHeight}px`;
  }

  function close(): void {
    questions.forget(part);
    asked = null;
    // Don't take the focus from where the user has gone meanwhile; and wait, as `home` is still hidden.
    if (node.matches(":focus-within")) queueMicrotask(() => home?.focus({ preventScroll: true }));
    open.value = false;
  }

  function ask(): void {
    const text = written();
    if (part === "foil" && text.trim() === "") {
      close();
      if (state.hasFoil.peek()) questions.change({ foil: null });
      return;
    }
    if (text === before && asked === null && (part === "caption" || state.hasFoil.peek())) {
      close();
      return;
    }
    asked = text;
    questions.change({ [part]: text });
  }

  scope.on(field, "input", grow);
  scope.on(field, "keydown", (event) => {
    if (isSaving(event)) return;
    // Letters, Esc and arrow keys are meant for the text here.
    event.stopPropagation();
    if (event.isComposing) return;
    if (event.key === "Enter") ask();
    else if (event.key === "Escape") close();
    else return;
    event.preventDefault();
  });
  scope.on(node, "focusout", ({ relatedTarget }) => {
    if (node.contains(relatedTarget as Node | null) || asked !== null) return;
    if (open.peek() && written() === before) close();
  });

  scope.effect(() => {
    const question = questions.open.value[part];
    waiting.show(question?.refused === null ? "Asking…" : null);
    refused.show(question?.refused);
    give(field, { "aria-invalid": Boolean(question?.refused) });
    if (asked === null || question) return;
    // Accepted. Don't interrupt a user who has gone on typing since.
    const same = written() === asked;
    before = asked;
    asked = null;
    if (same) close();
  });

  return {
    node,
    answer,
    open,
    start(from, button) {
      const text = from.caption.peek();
      home = button;
      field.value = text;
      before = written();
      open.value = true;
      grow();
      field.focus();
      const [start, end] = chosenSpan(from) ?? [text.length, text.length];
      field.setSelectionRange(start, end);
    },
  };
}

/** Return where the selected words are in the text: they are probably what the user wants to replace. */
function chosenSpan({ caption, tokens, selected }: ExplainedText): [number, number] | null {
  const letters = Array.from(caption.peek());
  const chosen = selected.peek().map((row) => tokens.peek()[row]);
  const starts = chosen.flatMap((token) => token?.start ?? []);
  const ends = chosen.flatMap((token) => token?.end ?? []);
  if (starts.length === 0 || ends.length === 0) return null;
  // Offsets count code points; text fields count UTF-16 units.
  const units = (count: number) => letters.slice(0, count).join("").length;
  return [units(Math.min(...starts)), units(Math.max(...ends))];
}
