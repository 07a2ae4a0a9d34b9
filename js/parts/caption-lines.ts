/**
 * The lines of words: the caption, and with a foil also the foil and their
 * difference. One of them is looked at and selected in; the others show their
 * words on the same scale. Caption and foil are edited where they stand.
 */
import { computed } from "@preact/signals-core";
import { sumOf, tintOf } from "../algebra/interactions.ts";
import { partsOf } from "../algebra/words.ts";
import type { Look } from "../state/looks.ts";
import type { WidgetState } from "../state/widget-state.ts";
import { iconButton, icons } from "../ui/buttons.ts";
import { box, claim, element, give } from "../ui/dom.ts";
import { enable, NO_KERNEL } from "../ui/message.ts";
import type { Scope } from "../ui/scope.ts";
import type { ViewState } from "../view/view-state.ts";
import { editor } from "./caption-editor.ts";
import { paintTint, tinted } from "./words.ts";

const PENCIL = "M2.5 13.5l.7-3.2L10.5 3l2.5 2.5-7.3 7.3zM9 4.5L11.5 7";

const NAMES: Record<Look, string> = {
  caption: "Caption",
  foil: "Foil",
  difference: "Caption minus foil",
};

export function lines(
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
  const name = element("button", "exclip-name", { type: "button", "data-look": look }, look);
  scope.on(name, "click", () => state.lookAt(look));
  const slot = box("exclip-slot");
  const node = element("div", "exclip-line", { "data-testid": `exclip-line-${look}` }, name, slot);
  const still = stillWords(look, state, view, words, scope);
  const writing = look === "difference" ? null : editor(look, NAMES[look], state, scope);

  scope.effect(() => {
    const compared = state.hasFoil.value;
    const editing = writing?.open.value ?? false;
    const looked = state.look.value === look;
    // Without a foil, the way to one is all there is of its line.
    const empty = look === "difference" || (state.choices.value === null && !editing);
    node.hidden = look !== "caption" && !compared && empty;
    node.classList.toggle("exclip-looked", looked && compared);
    name.hidden = !compared;
    give(name, { "aria-pressed": looked });
    const content = editing && writing ? writing.node : looked ? words : still;
    // Words are moved between the lines, not made anew.
    if (look !== "caption" && !compared && !editing) slot.replaceChildren();
    else if (slot.firstChild !== content) slot.replaceChildren(content);
    if (content === words) words.setAttribute("aria-label", NAMES[look]);
  });
  if (!writing || look === "difference") return node;

  const edit = iconButton(`Edit the ${look}`, PENCIL, scope, () =>
    writing.start(state.texts[look].caption.peek(), edit.node),
  );
  const tools = box("exclip-line-tools", edit.node);
  // The foil is the caption with something changed.
  const add = iconButton("Compare with a foil", icons.add, scope, () =>
    writing.start(state.caption.peek(), add.node),
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
      edit.node.hidden = !compared;
      remove.node.hidden = !compared;
      add.node.hidden = compared || tools.hidden;
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

/** The words of a line that is not looked at: a click looks at it. */
function stillWords(
  look: Look,
  state: WidgetState,
  view: ViewState,
  words: HTMLElement,
  scope: Scope,
): HTMLElement {
  const node = element("div", "exclip-caption exclip-still", {
    role: "group",
    "aria-label": NAMES[look],
    dir: "auto",
  });
  const side = state.texts[look];
  const seen = computed(() => state.hasFoil.value && state.look.value !== look);
  const laid = computed(() => {
    if (!seen.value) return [];
    const all: { word: HTMLElement; tokens: number[] }[] = [];
    const parts = partsOf(side.caption.value, side.tokens.value).map((part) => {
      if ("between" in part) return part.between;
      const { text, tokens } = part.word;
      const word = element(
        "span",
        "exclip-word",
        { "data-tokens": tokens.join(",") },
        tinted(text),
      );
      all.push({ word, tokens });
      return word;
    });
    node.replaceChildren(...parts);
    return all;
  });
  scope.effect(() => {
    const a = seen.value ? side.interactions.value : null;
    const tint = a && tintOf(a, view.region.summed.value);
    const end = view.tintScale.end.value || 1;
    const selected = new Set(side.selected.value);
    for (const { word, tokens } of laid.value) {
      const chosen = tokens.every((row) => selected.has(row));
      word.classList.toggle("exclip-chosen", chosen);
      const value = sumOf(tint ?? [], tokens);
      if (tint) word.dataset.value = String(value);
      else delete word.dataset.value;
      paintTint(word, view.ink.value, value / end);
    }
  });
  scope.on(node, "click", ({ target }) => {
    const tokens = (target as Element).closest<HTMLElement>("[data-tokens]")?.dataset.tokens;
    state.lookAt(look);
    if (tokens === undefined) return;
    state.selectTokens(tokens.split(",").map(Number));
    words.querySelector<HTMLElement>(`[data-tokens="${tokens}"]`)?.focus();
  });
  return node;
}
