/**
 * The strongest pairs of a phrase and a region, found as one would by eye:
 *
 * 1. A word's region starts at the patch where the word is strongest and holds
 *    what hangs together with it, has its sign, and at least half its value
 *    (full width at half maximum). While another patch outside still has half
 *    the word's strongest value, it starts a region of its own.
 * 2. The word's neighbours join it to a phrase while each has, over the same
 *    region, the same sign and at least half of the word's sum.
 * 3. Pairs are ranked by the magnitude of their interaction. One that shares a
 *    word and a patch with a stronger one of its sign is the same finding, and
 *    left out; so is what has less than a tenth of the strongest.
 */
import { heatOf, type Interactions, sumOf } from "./interactions.ts";
import { grow } from "./regions.ts";
import { type Selection, sorted } from "./selection.ts";

export interface Pair {
  tokens: Selection;
  region: Selection;
  /** The interaction of both. */
  value: number;
}

const HALF = 0.5;
const LEAST = 0.1;
/** Regions looked for per word and sign. */
const MOST = 4;

/** At most `count` pairs of each sign, strongest first; `words` are rows of the matrix in reading order. */
export function strongestPairs(
  a: Interactions,
  words: readonly Selection[],
  count: number,
): { positive: Pair[]; negative: Pair[] } {
  const heats = words.map((tokens) => heatOf(a, tokens));
  const over = (word: number, region: Selection) => sumOf(heats[word] ?? [], region);
  const found: Record<"positive" | "negative", Pair[]> = { positive: [], negative: [] };

  for (const [name, sign] of [["positive", 1] as const, ["negative", -1] as const]) {
    for (let word = 0; word < words.length; word++) {
      for (const region of regionsOf(heats[word] ?? [], sign, a)) {
        const least = HALF * Math.abs(over(word, region));
        const joins = (other: number) => other in words && sign * over(other, region) >= least;
        let [first, last] = [word, word];
        while (joins(first - 1)) first--;
        while (joins(last + 1)) last++;
        const phrase = words.slice(first, last + 1);
        const value = phrase.reduce((sum, _, i) => sum + over(first + i, region), 0);
        found[name].push({ tokens: sorted(phrase.flat()), region, value });
      }
    }
  }
  const strongest = Math.max(
    ...Object.values(found).flatMap((pairs) => pairs.map(({ value }) => Math.abs(value))),
  );
  const best = (pairs: Pair[]) => {
    const kept: Pair[] = [];
    pairs.sort((one, other) => Math.abs(other.value) - Math.abs(one.value));
    for (const pair of pairs) {
      if (kept.length === count || Math.abs(pair.value) < LEAST * strongest) break;
      if (!kept.some((one) => meet(one.tokens, pair.tokens) && meet(one.region, pair.region))) {
        kept.push(pair);
      }
    }
    return kept;
  };
  return { positive: best(found.positive), negative: best(found.negative) };
}

function regionsOf(heat: ArrayLike<number>, sign: number, size: Interactions): number[][] {
  const value = (patch: number) => sign * (heat[patch] ?? 0);
  const regions: number[][] = [];
  const taken = new Set<number>();
  let strongest = 0;
  while (regions.length < MOST) {
    let peak = -1;
    for (let patch = 0; patch < heat.length; patch++) {
      if (!taken.has(patch) && value(patch) > (peak < 0 ? 0 : value(peak))) peak = patch;
    }
    strongest ||= value(peak);
    if (peak < 0 || value(peak) < HALF * strongest) break;
    const least = HALF * value(peak);
    const region = grow(peak, size, (patch) => !taken.has(patch) && value(patch) >= least);
    for (const patch of region) taken.add(patch);
    regions.push(region);
  }
  return regions;
}

const meet = (a: Selection, b: Selection) => a.some((index) => b.includes(index));
