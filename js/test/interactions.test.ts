import { describe, expect, it } from "vitest";
import {
  heatOf,
  type Interactions,
  interactionOf,
  largest,
  tintOf,
} from "../algebra/interactions.ts";

/** The same numbers on every run. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 16807) % 2147483647;
    return state / 2147483647;
  };
}

function example(seed: number): { a: Interactions; tokens: number[]; patches: number[] } {
  const next = random(seed);
  const [tokens, rows, columns] = [2 + (seed % 9), 1 + (seed % 5), 1 + (seed % 7)];
  const values = Float32Array.from({ length: tokens * rows * columns }, () => next() - 0.5);
  const some = (n: number) => Array.from({ length: n }, (_, i) => i).filter(() => next() < 0.5);
  return {
    a: { tokens, rows, columns, values, cls: new Float32Array(tokens) },
    tokens: some(tokens),
    patches: some(rows * columns),
  };
}

/** The definition, entry by entry. */
const at = (a: Interactions, t: number, p: number) => a.values[t * a.rows * a.columns + p] ?? 0;

describe("sums of the interaction matrix", () => {
  it.each(Array.from({ length: 40 }, (_, i) => i + 1))(
    "agree with plain loops, example %i",
    (i) => {
      const { a, tokens, patches } = example(i);
      heatOf(a, tokens).forEach((value, p) => {
        expect(value).toBeCloseTo(
          tokens.reduce((sum, t) => sum + at(a, t, p), 0),
          12,
        );
      });
      tintOf(a, patches).forEach((value, t) => {
        expect(value).toBeCloseTo(
          patches.reduce((sum, p) => sum + at(a, t, p), 0),
          12,
        );
      });
      const both = interactionOf(a, tokens, patches);
      const heat = heatOf(a, tokens);
      const tint = tintOf(a, patches);
      expect(both).toBeCloseTo(
        patches.reduce((sum, p) => sum + (heat[p] ?? 0), 0),
        12,
      );
      expect(both).toBeCloseTo(
        tokens.reduce((sum, t) => sum + (tint[t] ?? 0), 0),
        12,
      );
    },
  );

  it("add over disjoint tokens", () => {
    const { a } = example(8);
    const whole = heatOf(a, [0, 1, 2, 3]);
    const [left, right] = [heatOf(a, [0, 2]), heatOf(a, [1, 3])];
    whole.forEach((value, p) => {
      expect(value).toBeCloseTo((left[p] ?? 0) + (right[p] ?? 0), 12);
    });
  });

  it("scale to the largest magnitude, of either sign", () => {
    expect(largest([0.2, -0.7, 0.5])).toBe(0.7);
    expect(largest([])).toBe(0);
  });
});
