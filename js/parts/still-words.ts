/** The words of a text that is not looked at: a click looks at it. */
import { computed } from "@preact/signals-core";
import { sumOf, tintOf } from "../algebra/interactions.ts";
import { partsOf } from "../algebra/words.ts";
import type { Look } from "../state/looks.ts";
import type { WidgetState } from "../state/widget-state.ts";
import { element, panel } from "../ui/dom.ts";
import type { Scope } from "../ui/scope.ts";
import type { ViewState } from "../view/view-state.ts";
import { paintTint, tinted } from "./word-tint.ts";

export function stillWords(
  look: Look,
  name: string,
  state: WidgetState,
  view: ViewState,
  words: HTMLElement,
  scope: Scope,
): HTMLElement {
  const node = panel("exclip-caption exclip-still", "group", name, { dir: "auto" });
  const text = state.texts[look];
  const visible = computed(() => state.hasFoil.value && state.look.value !== look);
  const laid = computed(() => {
    if (!visible.value) return [];
    const all: { word: HTMLElement; tokens: number[] }[] = [];
    const parts = partsOf(text.caption.value, text.tokens.value).map((part) => {
      if ("between" in part) return part.between;
      const { text: spelling, tokens } = part.word;
      const word = element(
        "span",
        "exclip-word",
        { "data-tokens": tokens.join(",") },
        tinted(spelling),
      );
      all.push({ word, tokens });
      return word;
    });
    node.replaceChildren(...parts);
    return all;
  });
  scope.effect(() => {
    const a = visible.value ? text.interactions.value : null;
    const tint = a && tintOf(a, view.region.summed.value);
    const selected = new Set(text.selected.value);
    for (const { word, tokens } of laid.value) {
      const chosen = tokens.every((row) => selected.has(row));
      word.classList.toggle("exclip-chosen", chosen);
      const value = tint ? sumOf(tint, tokens) : undefined;
      paintTint(word, view.ink.value, value, view.tintScale.end.value);
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
