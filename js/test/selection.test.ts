import { describe, expect, it } from "vitest";
import { outlineOf } from "../algebra/outline.ts";
import { invert, join, modeOf, sorted, toggle } from "../algebra/selection.ts";

describe("selections", () => {
  it("stay sorted and without duplicates", () => {
    expect(sorted([5, 1, 5, 3])).toEqual([1, 3, 5]);
    expect(join([4], [2, 4, 3], "add")).toEqual([2, 3, 4]);
  });

  it("replace, add and subtract", () => {
    expect(join([1, 2], [5, 4], "replace")).toEqual([4, 5]);
    expect(join([1, 2, 3], [2, 9], "subtract")).toEqual([1, 3]);
  });

  it("a click selects only it, and a second one clears", () => {
    expect(toggle([1, 2], [2], "replace")).toEqual([2]);
    expect(toggle([2], [2], "replace")).toEqual([]);
    expect(toggle([2], [2], "add")).toEqual([2]);
  });

  it("Alt subtracts even with Shift", () => {
    expect(modeOf({ shiftKey: true, altKey: true }, "replace")).toBe("subtract");
    expect(modeOf({ shiftKey: true, altKey: false }, "replace")).toBe("add");
    expect(modeOf({ shiftKey: false, altKey: false }, "replace")).toBe("replace");
  });

  it("keys take precedence over the chosen mode", () => {
    expect(modeOf({ shiftKey: false, altKey: false }, "subtract")).toBe("subtract");
    expect(modeOf({ shiftKey: true, altKey: false }, "subtract")).toBe("add");
  });

  it("invert", () => {
    expect(invert([1, 2], [0, 1, 2, 3])).toEqual([0, 3]);
    expect(invert([], [0, 1])).toEqual([0, 1]);
  });
});

describe("the outline of patches", () => {
  it("is the square of one patch", () => {
    expect(outlineOf([0], 3)).toHaveLength(4);
  });

  it("merges neighbours", () => {
    expect(outlineOf([0, 1, 3, 4], 3)).toHaveLength(8);
  });

  it("does not join the end of a row with the start of the next", () => {
    expect(outlineOf([2, 3], 3)).toHaveLength(8);
  });
});
