/**
 * What one view shows: the shared selections, what the pointer previews in
 * this view, and the numbers that follow from both.
 */
import { computed, type ReadonlySignal, type Signal, signal } from "@preact/signals-core";
import { partsOf, type Word } from "./caption.ts";
import { heatOf, interactionOf, largest, tintOf } from "./interactions.ts";
import type { Selection } from "./selection.ts";
import type { WidgetState } from "./state.ts";

/**
 * A scale follows what is shown, but never below this share of the strongest
 * interaction of one word with one patch: what is weak has to look weak.
 */
const FLOOR = 1 / 4;

/** One side of the matrix (words or patches) as one view sees it. */
export interface Side {
  /** Under the pointer or the cursor: shown alone, kept nowhere. */
  readonly preview: Signal<Selection | null>;
  /** What a drag in progress would select. */
  readonly draft: Signal<Selection | null>;
  /** What is outlined as selected. */
  readonly selected: ReadonlySignal<Selection>;
  /** What the other side is summed over. */
  readonly summed: ReadonlySignal<Selection>;
}

function side(selection: ReadonlySignal<Selection>, all: ReadonlySignal<Selection>): Side {
  const preview = signal<Selection | null>(null);
  const draft = signal<Selection | null>(null);
  const selected = computed(() => draft.value ?? selection.value);
  const summed = computed(() => {
    const one = preview.value ?? selected.value;
    return one.length > 0 ? one : all.value;
  });
  return { preview, draft, selected, summed };
}

export interface Lens {
  readonly words: ReadonlySignal<readonly Word[]>;
  readonly tokens: Side;
  readonly region: Side;
  /** Per patch, and the end of its scale; null before there is a result. */
  readonly heat: ReadonlySignal<Float64Array | null>;
  readonly heatScale: ReadonlySignal<number>;
  /** Per word, in the order of `words`, and the end of its scale. */
  readonly tint: ReadonlySignal<readonly number[] | null>;
  readonly tintScale: ReadonlySignal<number>;
  /** The interaction of what is selected, without previews. */
  readonly selection: ReadonlySignal<number | null>;
}

export function createLens(state: WidgetState): Lens {
  // Marginals leave the special tokens out: they are no words of the caption.
  const content = computed(() =>
    state.tokens.value.flatMap((token, index) => (token.special ? [] : [index])),
  );
  const patches = computed(() => {
    const { rows, columns } = state.grid.value;
    return Array.from({ length: rows * columns }, (_, patch) => patch);
  });
  const words = computed(() =>
    partsOf(state.caption.value, state.tokens.value).flatMap((part) =>
      "word" in part ? [part.word] : [],
    ),
  );
  const tokens = side(state.selectedTokens, content);
  const region = side(state.selectedRegion, patches);

  const heat = computed(() => {
    const a = state.interactions.value;
    return a && heatOf(a, tokens.summed.value);
  });
  const tint = computed(() => {
    const a = state.interactions.value;
    if (!a) return null;
    const perToken = tintOf(a, region.summed.value);
    return words.value.map((word) => word.tokens.reduce((sum, t) => sum + (perToken[t] ?? 0), 0));
  });
  const floor = computed(() => {
    const a = state.interactions.value;
    if (!a) return 0;
    const peaks = words.value.map((word) => largest(heatOf(a, word.tokens)));
    return FLOOR * largest(peaks);
  });
  const scaleOf = (values: Iterable<number> | null) =>
    values ? Math.max(largest(values), floor.value) : 0;
  const orAll = (one: Selection, all: Selection) => (one.length > 0 ? one : all);

  return {
    words,
    tokens,
    region,
    heat,
    heatScale: computed(() => scaleOf(heat.value)),
    tint,
    tintScale: computed(() => scaleOf(tint.value)),
    selection: computed(() => {
      const a = state.interactions.value;
      if (!a) return null;
      return interactionOf(
        a,
        orAll(tokens.selected.value, content.value),
        orAll(region.selected.value, patches.value),
      );
    }),
  };
}
