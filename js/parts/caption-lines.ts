/**
 * The lines of words: the caption and, if there is a foil, also the foil and
 * their difference. Words are selected in the one that is looked at; the others
 * show theirs on the same scale. Caption and foil are edited in place.
 */
import type { Look } from "../state/looks.ts";
import type { WidgetState } from "../state/widget-state.ts";
import { enable, iconButton } from "../ui/buttons.ts";
import { box, button, claim, element, give } from "../ui/dom.ts";
import { icons } from "../ui/icons.ts";
import { NO_KERNEL } from "../ui/message.ts";
import type { Scope } from "../ui/scope.ts";
import type { ViewState } from "../view/view-state.ts";
import { editor } from "./caption-editor.ts";
import { stillWords } from "./still-words.ts";

const NAMES: Record<Look, string> = {
  caption: "Caption",
  foil: "Foil",
  difference: "Caption minus foil",
};

export function captionLines(
  state: WidgetState,
  view: ViewState,
  words: HTMLElement,
  scope: Scope,
): HTMLElement {
  const looks = ["caption", "foil", "difference"] as const;
  return element(
    "div",
    "exclip-lines",
    { "data-testid": "exclip-lines" },
    ...looks.map((look) => line(look, state, view, words, scope)),
  );
}

function line(
  look: Look,
  state: WidgetState,
  view: ViewState,
  words: HTMLElement,
  scope: Scope,
): HTMLElement {
  const name = button("exclip-name", { "data-look": look }, look);
  scope.on(name, "click", () => state.lookAt(look));
  const slot = box("exclip-slot");
  const node = element("div", "exclip-line", { "data-testid": `exclip-line-${look}` }, name, slot);
  const still = stillWords(look, NAMES[look], state, view, words, scope);
  const writing = look === "difference" ? null : editor(look, NAMES[look], state, scope);

  scope.effect(() => {
    const compared = state.hasFoil.value;
    const editing = writing?.open.value ?? false;
    const looked = state.look.value === look;
    // Without a foil, its line has only the button that adds one.
    const empty = look === "difference" || (state.choices.value === null && !editing);
    node.hidden = look !== "caption" && !compared && empty;
    node.classList.toggle("exclip-looked", looked && compared);
    name.hidden = !compared;
    give(name, { "aria-pressed": looked });
    const content = editing && writing ? writing.node : looked ? words : still;
    // Words are moved between the lines rather than created anew.
    if (look !== "caption" && !compared && !editing) slot.replaceChildren();
    else if (slot.firstChild !== content) slot.replaceChildren(content);
    if (content === words) words.ariaLabel = NAMES[look];
  });
  if (!writing || look === "difference") return node;

  const edit = iconButton(`Edit the ${look}`, icons.edit, scope, () =>
    writing.start(state.texts[look], edit.node),
  );
  const tools = box("exclip-line-tools", edit.node);
  // A foil starts as a copy of the caption.
  const add = iconButton("Compare with a foil", icons.add, scope, () =>
    writing.start(state.texts.caption, add.node),
  );
  const remove = iconButton("Remove the foil", icons.clear, scope, () =>
    state.questions.change({ foil: null }),
  );
  if (look === "foil") {
    tools.append(remove.node);
    name.after(add.node);
  }
  add.node.classList.add("exclip-text", "exclip-add");
  add.node.append("foil");
  node.append(tools, writing.answer);

  scope.on(node, "dblclick", ({ target }) => {
    if (slot.contains(target as Node) && !writing.open.peek()) edit.node.click();
  });
  scope.on(node, "keydown", (event) => {
    if (event.key !== "F2" || writing.open.peek()) return;
    claim(event);
    edit.node.click();
  });
  scope.effect(() => {
    const answering = state.answering.value;
    const compared = state.hasFoil.value;
    tools.hidden = state.choices.value === null || writing.open.value;
    if (look === "foil") {
      // Removing the foil hides the button that has the focus.
      const falls = !compared && tools.matches(":focus-within");
      edit.node.hidden = !compared;
      remove.node.hidden = !compared;
      add.node.hidden = compared || tools.hidden;
      if (falls) add.node.focus({ preventScroll: true });
    }
    for (const [{ node }, hint] of [
      [edit, `Edit the ${look} (F2)`],
      [add, "Compare with a second caption"],
      [remove, "Remove the foil"],
    ] as const) {
      enable(node, answering, answering ? hint : NO_KERNEL);
    }
  });
  return node;
}
