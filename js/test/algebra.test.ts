/** The examples that pytest also reads: the algebra here agrees with the one in Python. */
import { describe, expect, it } from "vitest";
import examples from "../../tests/algebra/algebra.json";
import { accountOf } from "../algebra/account.ts";
import { differenceOf, subtract } from "../algebra/alignment.ts";
import { heatOf, type Interactions, interactionOf, tintOf } from "../algebra/interactions.ts";
import { boxOf, grow, lassoOf } from "../algebra/regions.ts";
import { strongestPairs } from "../algebra/strongest-pairs.ts";
import { wordsOf } from "../algebra/words.ts";
import type { AlignedRows } from "../protocol.ts";

type Example = (typeof examples.pairs)[number];
type Name = keyof Example["texts"];

const NAMES: Name[] = ["caption", "foil", "difference"];

function interactionsIn({ rows, columns, texts }: Example, name: Name): Interactions {
  const { tokens, values, cls } = texts[name];
  return {
    tokens: tokens.length,
    rows,
    columns,
    values: Float32Array.from(values),
    cls: Float32Array.from(cls),
  };
}

const close = (found: Iterable<number>, expected: readonly number[]) => {
  const numbers = [...found];
  expect(numbers).toHaveLength(expected.length);
  numbers.forEach((number, i) => {
    expect(number).toBeCloseTo(expected[i] ?? Number.NaN, 10);
  });
};

const cases = examples.pairs.flatMap((example, number) =>
  NAMES.map((name) => ({ example, name, label: `${name} ${number}` })),
);

describe("the same as in Python", () => {
  it.each(cases)("sums and receipts: $label", ({ example, name }) => {
    const a = interactionsIn(example, name);
    const { tokens, similarity, total, own, selections } = example.texts[name];
    const content = tokens.flatMap(({ special }, row) => (special ? [] : [row]));
    for (const { tokens: rows, region, heat, tint, between, receipt } of selections) {
      close(heatOf(a, rows), heat);
      close(tintOf(a, region), tint);
      expect(interactionOf(a, rows, region)).toBeCloseTo(between, 10);
      const { parts } = accountOf(a, content, rows, region, {
        similarity,
        total,
        own: own && [own[0] ?? 0, own[1] ?? 0],
        outliers: example.outliers,
      });
      expect(parts.map((part) => part.name)).toEqual(Object.keys(receipt));
      close(
        parts.map(({ value }) => value),
        Object.values(receipt),
      );
    }
  });

  it.each(cases)("strongest pairs: $label", ({ example, name }) => {
    const { caption, tokens, strongest } = example.texts[name];
    const words = wordsOf(caption, tokens).filter(({ special }) => !special);
    const found = strongestPairs(interactionsIn(example, name), words, 3);
    for (const sign of ["positive", "negative"] as const) {
      expect(found[sign].map(({ tokens, region }) => ({ tokens, region }))).toEqual(
        strongest[sign].map(({ tokens, region }) => ({ tokens, region })),
      );
      close(
        found[sign].map(({ value }) => value),
        strongest[sign].map(({ value }) => value),
      );
    }
  });

  it.each(examples.pairs.map((example, number) => ({ example, number })))(
    "the difference to a foil: $number",
    ({ example }) => {
      const { caption, foil, difference } = example.texts;
      const alignment = example.alignment as unknown as AlignedRows[];
      const spelled = differenceOf(caption, foil, alignment);
      expect(spelled).toEqual({ caption: difference.caption, tokens: difference.tokens });
      const found = subtract(
        interactionsIn(example, "caption"),
        interactionsIn(example, "foil"),
        alignment,
      );
      close(found.values, difference.values);
      close(found.cls, difference.cls);
    },
  );

  it.each(examples.regions)("regions on $rows x $columns patches", ({ box, lasso, ...example }) => {
    const points = (path: number[][]) => path.map(([x = 0, y = 0]) => ({ x, y }));
    const [from = { x: 0, y: 0 }, to = { x: 0, y: 0 }] = points(box.corners);
    expect(boxOf(from, to, example)).toEqual(box.patches);
    expect(lassoOf(points(lasso.path), example)).toEqual(lasso.patches);
    const passing = new Set(example.grow.passing);
    const { seed, patches } = example.grow;
    expect(grow(seed, example, (patch) => passing.has(patch))).toEqual(patches);
  });
});
