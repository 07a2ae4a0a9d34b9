/**
 * The account behind the receipt: how the similarity breaks down, as seen from
 * the selection. Every part is a sum of matrix entries or the difference to a
 * number from the kernel, so the parts add up to the similarity.
 */
import type { Summary } from "../protocol.ts";
import { type Interactions, interactionOf } from "./interactions.ts";
import { range } from "./numbers.ts";
import { invert, type Selection } from "./selection.ts";

export type PartName =
  | "selection"
  | "rest"
  | "outlier"
  | "special"
  | "class"
  | "words"
  | "patches"
  | "reference"
  | "residual"
  | "unexplained";

export interface Part {
  name: PartName;
  value: number;
}

export interface Account {
  parts: Part[];
  /** What the parts add up to; null until the kernel has sent it. */
  similarity: number | null;
}

/** The kernel's numbers for the whole; `total`, if known, is what the method's paths cover. */
type Whole = Pick<Summary, "similarity" | "total" | "own" | "outliers">;

/** `rows` and `patches` are the selected ones or, if there are none, all of them except outliers. */
export function accountOf(
  a: Interactions,
  content: Selection,
  rows: Selection,
  patches: Selection,
  whole: Whole | null,
): Account {
  const all = range(a.rows * a.columns);
  const special = invert(content, range(a.tokens));
  const of = (rows: Selection, columns: Selection) => interactionOf(a, rows, columns);

  // Selected special tokens count in the selection rather than among the special tokens.
  const inWords = of(invert(special, rows), patches);
  const inOthers = of(invert(content, rows), patches);
  const [everyWord, everySpecial] = [of(content, all), of(special, all)];
  const cls = a.cls.reduce((sum, value) => sum + value, 0);
  const outliers = whole?.outliers ?? [];
  const chosen = patches.filter((p) => outliers.includes(p));
  const outlier = of(content, outliers) - of(invert(special, rows), chosen);
  const parts: Part[] = [
    { name: "selection", value: inWords + inOthers },
    { name: "rest", value: everyWord - inWords - outlier },
    ...(outliers.length > 0 ? [{ name: "outlier", value: outlier } as const] : []),
    { name: "special", value: everySpecial - inOthers },
    { name: "class", value: cls },
  ];
  const covered = everyWord + everySpecial + cls;
  if (whole) {
    const { similarity, total = null, own } = whole;
    const [words, patches] = own ?? [0, 0];
    if (own) parts.push({ name: "words", value: words }, { name: "patches", value: patches });
    const known = total ?? covered;
    const name = total === null ? "unexplained" : "reference";
    parts.push({ name, value: similarity - words - patches - known });
    if (total !== null) parts.push({ name: "residual", value: total - covered });
  }
  return { parts, similarity: whole?.similarity ?? null };
}
