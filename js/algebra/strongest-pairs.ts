/**
 * The strongest pairs of a phrase and a region, found as one would by eye:
 *
 * 1. A word's region starts at the patch where the word is strongest and grows
 *    to connected patches of the same sign with at least half that value (full
 *    width at half maximum). As long as a patch outside still has half the word's
 *    strongest value, it starts another region.
 * 2. Neighbouring words join the word to form a phrase as long as each has, over
 *    the same region, the same sign and enough of the word's sum: half of it
 *    before the word, and a tenth after it, where English puts the noun. Function
 *    words and punctuation marks never join, so a phrase ends where a noun phrase
 *    does.
 * 3. Pairs are ranked by the magnitude of their interaction. A pair that shares a
 *    word and a patch with a stronger one of the same sign is the same finding,
 *    and is left out. So is a pair with less than a tenth of the strongest value,
 *    or less than half of it for a function word.
 */
import { heatOf, type Interactions, interactionOf, largest, sumOf } from "./interactions.ts";
import { grow } from "./regions.ts";
import { type Selection, sorted } from "./selection.ts";
import type { Word } from "./words.ts";

export interface Pair {
  /** The phrase. */
  text: string;
  tokens: Selection;
  region: Selection;
  /** The interaction of the two. */
  value: number;
  /** Whether its word is a function word or a punctuation mark. */
  alone: boolean | undefined;
}

const HALF = 0.5;
const LEAST = 0.1;
/** The most regions to look for, per word and sign. */
const MOST = 4;

/** Return at most `count` pairs of each sign, strongest first; `words` are in reading order. */
export function strongestPairs(
  a: Interactions,
  words: readonly Omit<Word, "special">[],
  count: number,
): { positive: Pair[]; negative: Pair[] } {
  const heats = words.map(({ tokens }) => heatOf(a, tokens));
  const [positive = [], negative = []] = [1, -1].map((sign) =>
    heats
      .flatMap((heat, word) =>
        regionsOf(
          heat.map((value) => sign * value),
          a,
        ).map((region) => {
          // 0 beyond either end, so that the phrase stops there.
          const over = (at: number) => sign * sumOf(heats[at] ?? [], region);
          const joins = (other: number, share: number) =>
            [word, other].every((at) => !words[at]?.alone) && over(other) >= share * over(word);
          let [first, end] = [word, word + 1];
          while (joins(first - 1, HALF)) first--;
          while (joins(end, LEAST)) end++;
          const phrase = words.slice(first, end);
          const tokens = sorted(phrase.flatMap(({ tokens }) => tokens));
          const text = phrase.map(({ text }) => text).join(" ");
          const value = interactionOf(a, tokens, region);
          return { text, tokens, region, value, alone: words[word]?.alone };
        }),
      )
      .sort((one, other) => sign * (other.value - one.value)),
  );
  const most = largest([...positive, ...negative].map(({ value }) => value));
  const best = (pairs: Pair[]) => {
    const kept: Pair[] = [];
    for (const pair of pairs) {
      if (
        kept.length < count &&
        Math.abs(pair.value) >= (pair.alone ? HALF : LEAST) * most &&
        !kept.some((one) => meet(one.tokens, pair.tokens) && meet(one.region, pair.region))
      ) {
        kept.push(pair);
      }
    }
    return kept;
  };
  return { positive: best(positive), negative: best(negative) };
}

/** Return the regions of a word. `left` is its heat map; each region found is set to 0 in it. */
function regionsOf(left: Float64Array, size: Interactions): number[][] {
  const regions: number[][] = [];
  let least = 0;
  while (regions.length < MOST) {
    const most = Math.max(...left);
    if (!(most > 0 && most >= least)) break;
    least ||= HALF * most;
    const region = grow(left.indexOf(most), size, (patch) => (left[patch] ?? 0) >= HALF * most);
    for (const patch of region) left[patch] = 0;
    regions.push(region);
  }
  return regions;
}

const meet = (a: Selection, b: Selection) => a.some((index) => b.includes(index));
