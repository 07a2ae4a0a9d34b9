/**
 * What one view shows: the shared selections, what the pointer previews in
 * this view, and the numbers that follow from both.
 */
import { computed, type ReadonlySignal, type Signal } from "@preact/signals-core";
import { heatOf, largest, sumOf, tintOf } from "../algebra/interactions.ts";
import { extent, range } from "../algebra/numbers.ts";
import { same } from "../algebra/selection.ts";
import { type Word, wordsOf } from "../algebra/words.ts";
import type { WidgetState } from "../state/widget-state.ts";
import { colormap, type Ink } from "./colormap.ts";
import { type Axis, createAxis } from "./gestures.ts";
import type { Settings } from "./settings.ts";
import type { Theme } from "./theme.ts";

/**
 * A scale follows what is shown, but its end never falls below this share of the
 * strongest interaction of one word with one patch, so that weak values look weak.
 */
const FLOOR = 1 / 4;

/** A scale symmetric about 0, and the values on it. */
export interface Scale {
  /** The value at its end; 0 before there is a result. */
  readonly end: ReadonlySignal<number>;
  /** The end of a locked scale, whatever is shown; null if it follows. */
  readonly lock: Signal<number | null>;
  /** The end that a scale that follows never falls below. */
  readonly floor: ReadonlySignal<number>;
  /** Smallest and largest of the values shown. */
  readonly range: ReadonlySignal<readonly [number, number] | null>;
  /** The value under the pointer. */
  readonly pointed: ReadonlySignal<number | null>;
}

export interface ViewState {
  readonly ink: ReadonlySignal<Ink>;
  readonly words: ReadonlySignal<readonly Word[]>;
  /** What the caption is cut into now: its words, or the pieces that the model reads. */
  readonly units: ReadonlySignal<readonly Word[]>;
  readonly tokens: Axis;
  readonly region: Axis;
  /** Per patch; null before there is a result. */
  readonly heat: ReadonlySignal<Float64Array | null>;
  readonly heatScale: Scale;
  /** Per unit, in the order of `units`. */
  readonly tint: ReadonlySignal<readonly number[] | null>;
  readonly tintScale: Scale;
}

export function createViewState(
  state: WidgetState,
  settings: Settings,
  theme: ReadonlySignal<Theme>,
): ViewState {
  const map = computed(() => colormap(settings.palette.value, theme.value));
  const ink = computed<Ink>(() => ({
    theme: theme.value,
    map: map.value,
    sign: settings.sign.value,
    strength: settings.strength.value,
  }));
  // Marginals leave out the special tokens, which are not words of the caption.
  const content = computed(() =>
    state.tokens.value.flatMap((token, index) => (token.special ? [] : [index])),
  );
  const patches = computed(() => {
    const { rows, columns } = state.grid.value;
    return range(rows * columns);
  });
  const cut = (pieces: boolean) => wordsOf(state.caption.value, state.tokens.value, pieces);
  const words = computed(() => cut(false));
  const units = computed(() => (settings.pieces.value ? cut(true) : words.value));
  const tokens = createAxis(state.selectedTokens, content, settings.mode, state.selectTokens);
  const region = createAxis(state.selectedRegion, patches, settings.mode, state.selectRegion);

  const heat = computed(() => {
    const a = state.interactions.value;
    return a && heatOf(a, tokens.summed.value);
  });
  const tint = computed(() => {
    const a = state.interactions.value;
    if (!a) return null;
    const perToken = tintOf(a, region.summed.value);
    return units.value.map((unit) => sumOf(perToken, unit.tokens));
  });
  // With a foil, both captions and their difference share one scale.
  const sides = computed(() =>
    (["caption", "foil"] as const).slice(0, state.hasFoil.value ? 2 : 1).flatMap((part) => {
      const { caption, tokens, interactions, selected } = state.texts[part];
      const a = interactions.value;
      if (!a) return [];
      const words = wordsOf(caption.value, tokens.value);
      return { a, words: words.map(({ tokens }) => tokens), selected };
    }),
  );
  const floor = computed(() => {
    const peaks = sides.value.flatMap(({ a, words }) => words.map((word) => heatOf(a, word)));
    return FLOOR * largest(peaks.map(largest));
  });
  const compared = computed(() => {
    const shown = { heat: 0, tint: 0 };
    if (!state.hasFoil.value) return shown;
    for (const { a, words, selected } of sides.value) {
      const chosen = selected.value.length > 0 ? selected.value : words.flat();
      const tint = tintOf(a, region.chosen.value);
      const sums = words.map((word) => sumOf(tint, word));
      shown.heat = Math.max(shown.heat, largest(heatOf(a, chosen)));
      shown.tint = Math.max(shown.tint, largest(sums));
    }
    return shown;
  });
  const scaleOf = (
    name: "heat" | "tint",
    values: ReadonlySignal<Float64Array | readonly number[] | null>,
    lock: Signal<number | null>,
    pointed: ReadonlySignal<number>,
  ): Scale => ({
    lock,
    floor,
    end: computed(() => {
      const shown = values.value;
      if (!shown) return 0;
      return lock.value ?? Math.max(largest(shown), compared.value[name], floor.value);
    }),
    range: computed(() => {
      const shown = values.value;
      return shown && extent(0, ...shown);
    }),
    pointed: computed(() => values.value?.[pointed.value] ?? null),
  });

  return {
    ink,
    words,
    units,
    tokens,
    region,
    heat,
    heatScale: scaleOf(
      "heat",
      heat,
      settings.heatLock,
      computed(() => {
        const under = region.preview.value;
        return under?.length === 1 ? (under[0] ?? -1) : -1;
      }),
    ),
    tint,
    tintScale: scaleOf(
      "tint",
      tint,
      settings.tintLock,
      computed(() => {
        const under = tokens.preview.value;
        return under ? units.value.findIndex((unit) => same(unit.tokens, under)) : -1;
      }),
    ),
  };
}
