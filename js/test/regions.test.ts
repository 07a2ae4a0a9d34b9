import { describe, expect, it } from "vitest";
import { boxOf, grow, lassoOf, strokeOf } from "../algebra/regions.ts";

const SIZE = { rows: 4, columns: 5 };
const at = (x: number, y: number) => ({ x, y });

describe("a box", () => {
  it("contains every patch it touches, whichever corner it starts from", () => {
    for (const [a, b] of [
      [at(1.9, 0.9), at(3.1, 1.1)],
      [at(3.1, 1.1), at(1.9, 0.9)],
      [at(1.9, 1.1), at(3.1, 0.9)],
    ] as const) {
      expect(boxOf(a, b, SIZE)).toEqual([1, 2, 3, 6, 7, 8]);
    }
  });

  it("is clipped to the grid, and empty outside it", () => {
    expect(boxOf(at(-3, -3), at(0.5, 0.5), SIZE)).toEqual([0]);
    expect(boxOf(at(4.5, 3.5), at(9, 9), SIZE)).toEqual([19]);
    expect(boxOf(at(-3, 0), at(-1, 3), SIZE)).toEqual([]);
    expect(boxOf(at(5, 0), at(7, 3), SIZE)).toEqual([]);
  });
});

describe("a brush", () => {
  it("selects the patch it is over, however small the brush is", () => {
    expect(strokeOf(at(2.1, 1.9), at(2.1, 1.9), 0.1, SIZE)).toEqual([7]);
  });

  it("selects the patches whose centres it covers", () => {
    expect(strokeOf(at(2.5, 1.5), at(2.5, 1.5), 1, SIZE)).toEqual([2, 6, 7, 8, 12]);
  });

  it("leaves no gap between two distant events", () => {
    expect(strokeOf(at(0.5, 0.5), at(4.5, 0.5), 0.4, SIZE)).toEqual([0, 1, 2, 3, 4]);
  });
});

describe("a lasso", () => {
  it("selects the patches whose centres it encloses", () => {
    const around = [at(0.9, 0.9), at(3.1, 0.9), at(3.1, 3.1), at(0.9, 3.1)];
    expect(lassoOf(around, SIZE)).toEqual([6, 7, 11, 12]);
  });

  it("leaves out patches in a concave bend", () => {
    const bent = [at(0, 0), at(5, 0), at(5, 1), at(1, 1), at(1, 4), at(0, 4)];
    expect(lassoOf(bent, SIZE)).toEqual([0, 1, 2, 3, 4, 5, 10, 15]);
  });

  it("may reach over the edge, and may be empty", () => {
    expect(lassoOf([at(-9, -9), at(30, -9), at(30, 30), at(-9, 30)], SIZE)).toHaveLength(20);
    expect(lassoOf([at(1.1, 1.1)], SIZE)).toEqual([]);
    expect(lassoOf([], SIZE)).toEqual([]);
  });
});

describe("growing", () => {
  it("follows neighbours that share a side, never around the edge", () => {
    const inside = new Set([0, 1, 5, 4, 9, 12]);
    expect(grow(0, SIZE, (patch) => inside.has(patch))).toEqual([0, 1, 5]);
    expect(grow(4, SIZE, (patch) => inside.has(patch))).toEqual([4, 9]);
  });
});
