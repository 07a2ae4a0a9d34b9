/** The strongest pairs as a short list: pointing at one previews it, a click selects it. */
import { signal } from "@preact/signals-core";
import { same } from "../algebra/selection.ts";
import { type Pair, strongestPairs } from "../algebra/strongest-pairs.ts";
import type { WidgetState } from "../state/widget-state.ts";
import { attended } from "../ui/attended.ts";
import { rove } from "../ui/buttons.ts";
import { box, button, drawing, element, give, panel, refill } from "../ui/dom.ts";
import type { Scope } from "../ui/scope.ts";
import { css } from "../view/colormap.ts";
import { patchCount, signed } from "../view/number-format.ts";
import type { ViewState } from "../view/view-state.ts";

/** Pairs of each sign. */
const COUNT = 3;

/** A result that lasts this long is worth searching. */
const REST_MS = 80;

export function strongestPairsList(state: WidgetState, view: ViewState, scope: Scope): HTMLElement {
  const columns = box("exclip-pairs-columns");
  const node = panel(
    "exclip-pairs",
    "group",
    "Strongest pairs",
    box("exclip-name-of", "strongest pairs"),
    columns,
  );
  const refresh = rove(columns, scope);
  const pairs = signal<ReturnType<typeof strongestPairs> | null>(null);
  let buttons: { node: HTMLElement; pair: Pair }[] = [];

  const preview = (pair: Pair | undefined) => {
    view.tokens.preview.value = pair?.tokens ?? null;
    view.region.preview.value = pair?.region ?? null;
  };
  const pairOf = (part: Element | null) => buttons.find(({ node }) => node === part)?.pair;
  const part = attended(columns, ".exclip-pair", scope);
  scope.effect(() => preview(pairOf(part.value)));
  scope.on(columns, "click", ({ target }) => {
    const pair = pairOf((target as Element).closest(".exclip-pair"));
    if (!pair) return;
    preview(undefined);
    const again = isSelected(pair);
    view.tokens.select(again ? [] : pair.tokens);
    view.region.select(again ? [] : pair.region);
  });

  const isSelected = ({ tokens, region }: Pair) =>
    same(tokens, view.tokens.selected.value) && same(region, view.region.selected.value);

  scope.effect(() => {
    const a = state.interactions.value;
    const words = view.words.value;
    if (!a) {
      pairs.value = null;
      return;
    }
    // Wait until the heat map has been painted: this should not delay it.
    const later = setTimeout(() => {
      pairs.value = strongestPairs(a, words, COUNT);
    }, REST_MS);
    return () => clearTimeout(later);
  });
  scope.effect(() => {
    const { rows, columns: width } = state.grid.value;
    const found = pairs.value;
    node.hidden = !found || found.positive.length + found.negative.length === 0;
    buttons = [];
    const signs = (["positive", "negative"] as const).map((name) => {
      const entries = (found?.[name] ?? []).map((pair) => {
        const squares = pair.region.map((p) => `M${p % width} ${Math.floor(p / width)}h1v1h-1z`);
        const shown = drawing("exclip-place", squares.join(""), width, rows);
        const entry = button(
          "exclip-pair",
          { "data-value": pair.value },
          shown,
          element("span", "exclip-pair-words", { dir: "auto" }, pair.text),
          element("span", "exclip-heard", `and ${patchCount(pair.region.length)},`),
          element("span", "exclip-pair-value", signed(pair.value)),
        );
        buttons.push({ node: entry, pair });
        return entry;
      });
      return element("div", "exclip-pairs-column", { "data-sign": name }, ...entries);
    });
    refill(columns, signs);
    refresh();
  });
  scope.effect(() => {
    void pairs.value;
    for (const { node, pair } of buttons) give(node, { "aria-pressed": isSelected(pair) });
  });
  scope.effect(() => {
    const { map } = view.ink.value;
    node.style.setProperty("--exclip-above", css(map.at(0.75)));
    node.style.setProperty("--exclip-below", css(map.at(-0.75)));
  });
  return node;
}
