/** The numbers: similarity, the selection's interaction, and what the method leaves over. */
import { computed, effect, type ReadonlySignal } from "@preact/signals-core";
import { element } from "./dom.ts";
import type { Lens } from "./lens.ts";
import { percent, plain, signed } from "./numbers.ts";
import type { WidgetState } from "./state.ts";

export interface Readout {
  node: HTMLElement;
  /** The selection and its number in words. */
  spoken: ReadonlySignal<string>;
}

export function readout(state: WidgetState, lens: Lens, lifetime: AbortSignal): Readout {
  const similarity = figure("similarity", "Cosine similarity of the caption and the picture");
  const selection = figure("selection", "Sum of the interactions of what is selected");
  const residual = figure("residual", "What the interactions leave unexplained, relative");
  // Not a definition list: JupyterLab's styles for rendered Markdown would lay one out anew.
  const node = element(
    "div",
    "exclip-readout",
    { "data-testid": "exclip-readout" },
    similarity.node,
    selection.node,
    residual.node,
  );
  const what = computed(() => describe(state, lens));

  const stops = [
    effect(() => {
      const summary = state.summary.value;
      similarity.show(summary?.similarity, plain);
      residual.show(summary?.residual, percent);
    }),
    effect(() => {
      selection.name(what.value);
      selection.show(lens.selection.value ?? undefined, signed);
    }),
  ];
  lifetime.addEventListener("abort", () => {
    for (const stop of stops) stop();
  });

  const spoken = computed(() => {
    const value = lens.selection.value;
    return value === null ? "" : `${what.value}: ${signed(value)}`;
  });
  return { node, spoken };
}

/** The two sides that are summed over, as "red boat × 6 patches". */
function describe(state: WidgetState, lens: Lens): string {
  const tokens = lens.tokens.selected.value;
  const patches = lens.region.selected.value.length;
  const chosen = new Set(tokens);
  const words = lens.words.value
    .filter((word) => word.tokens.some((t) => chosen.has(t)))
    .map((word) => word.text);
  // Special tokens are on no word, yet Python may select them.
  const specials = tokens.map((t) => state.tokens.value[t]).filter((token) => token?.special);
  const names = [...words, ...specials.map((token) => token?.text ?? "")];
  const left =
    names.length === 0 ? "caption" : names.length > 4 ? `${names.length} words` : names.join(" ");
  const right = patches === 0 ? "picture" : patches === 1 ? "1 patch" : `${patches} patches`;
  return `${left} × ${right}`;
}

function figure(key: string, title: string) {
  const label = element("div", "exclip-label", {}, key);
  const number = element("div", "exclip-number", { "data-figure": key }, "–");
  const node = element("div", "exclip-figure", { title }, label, number);
  return {
    node,
    name(text: string) {
      label.textContent = text;
    },
    show(value: number | undefined, format: (value: number) => string) {
      number.textContent = value === undefined ? "–" : format(value);
      if (value === undefined) delete number.dataset.value;
      else number.dataset.value = String(value);
    },
  };
}
