/**
 * Two captions of one image: the foil's rows aligned with the caption's, and
 * the difference of their interactions, caption minus foil. Pure functions.
 */
import type { AlignedRows, Token } from "../protocol.ts";
import type { Interactions } from "./interactions.ts";
import type { Selection } from "./selection.ts";
import { type Word, wordsOf } from "./words.ts";

export interface Spelled {
  caption: string;
  tokens: readonly Token[];
}

/** Return caption minus foil for each pair; a missing counterpart counts as 0. */
export function subtract(
  a: Interactions,
  b: Interactions,
  pairs: readonly AlignedRows[],
): Interactions {
  const patches = a.rows * a.columns;
  const values = new Float32Array(pairs.length * patches);
  const cls = new Float32Array(pairs.length);
  pairs.forEach(([row, foilRow], i) => {
    for (const [from, which, sign] of [[a, row, 1] as const, [b, foilRow, -1] as const]) {
      if (which === null) continue;
      for (let p = 0; p < patches; p++) {
        const at = i * patches + p;
        values[at] = (values[at] ?? 0) + sign * (from.values[which * patches + p] ?? 0);
      }
      cls[i] = (cls[i] ?? 0) + sign * (from.cls[which] ?? 0);
    }
  });
  return { tokens: pairs.length, rows: a.rows, columns: a.columns, values, cls };
}

/**
 * Return the pairs as tokens of a text of their own. A word in both captions
 * appears once; others read "black − brown", "small" (only in the caption) or
 * "− big" (only in the foil).
 */
export function differenceOf(
  caption: Spelled,
  foil: Spelled,
  pairs: readonly AlignedRows[],
): Spelled {
  const sides = [caption, foil].map(wordOfRow);
  const groups: { words: [Set<Word>, Set<Word>]; pairs: number[] }[] = [];
  pairs.forEach((pair, index) => {
    const words = pair.map((row, side) => (row === null ? undefined : sides[side]?.get(row)));
    if (!words.some((word) => word)) return; // special tokens
    // Words belong together if any of their pieces are paired.
    let group = groups.find((one) =>
      words.some((word, side) => word && one.words[side]?.has(word)),
    );
    if (!group) {
      group = { words: [new Set(), new Set()], pairs: [] };
      groups.push(group);
    }
    group.pairs.push(index);
    words.forEach((word, side) => {
      if (word) group.words[side]?.add(word);
    });
  });

  const tokens: Token[] = pairs.map(([row, foilRow]) => {
    const text = (row === null ? foil.tokens[foilRow ?? -1] : caption.tokens[row])?.text ?? "";
    return { text, word: -1, special: true, alone: true, start: null, end: null };
  });
  let text = "";
  groups.forEach(({ words, pairs }, word) => {
    const alone = words.every((set) => [...set].every((word) => word.alone));
    const [ours, theirs] = words.map((set) => [...set].map(({ text }) => text).join(" "));
    const name = ours === theirs ? ours : [ours, theirs && `− ${theirs}`].filter(Boolean).join(" ");
    if (text) text += " ";
    const start = Array.from(text).length;
    text += name;
    const end = Array.from(text).length;
    for (const index of pairs) {
      tokens[index] = { text: name ?? "", word, special: false, alone, start, end };
    }
  });
  return { caption: text, tokens };
}

function wordOfRow({ caption, tokens }: Spelled): Map<number, Word> {
  const words = wordsOf(caption, tokens);
  return new Map(words.flatMap((word) => word.tokens.map((row) => [row, word] as const)));
}

/** Return the places in `pairs` of these rows of the caption (side 0) or the foil (side 1). */
export function placesOf(pairs: readonly AlignedRows[], side: 0 | 1, rows: Selection): number[] {
  const wanted = new Set(rows);
  return pairs.flatMap((pair, index) => {
    const row = pair[side];
    return row !== null && wanted.has(row) ? [index] : [];
  });
}

/** Return the rows of one side at these places, sorted. */
export function rowsOf(pairs: readonly AlignedRows[], side: 0 | 1, places: Selection): number[] {
  return places.flatMap((place) => pairs[place]?.[side] ?? []).sort((a, b) => a - b);
}
