/** The words of a text that is not looked at: a click switches to it. */
import { computed } from "@preact/signals-core";
import { sumOf, tintOf } from "../algebra/interactions.ts";
import type { Look } from "../state/looks.ts";
import type { WidgetState } from "../state/widget-state.ts";
import { element, panel } from "../ui/dom.ts";
import type { Scope } from "../ui/scope.ts";
import type { ViewState } from "../view/view-state.ts";
import { paintTint } from "./word-tint.ts";
import { layOut } from "./words.ts";

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
  const laid = computed(() =>
    visible.value ? layOut(node, text, false, (...parts) => element("span", ...parts)) : [],
  );
  scope.effect(() => {
    const a = visible.value ? text.interactions.value : null;
    const tint = a && tintOf(a, view.region.summed.value);
    const selected = new Set(text.selected.value);
    for (const { node: word, tokens } of laid.value) {
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
