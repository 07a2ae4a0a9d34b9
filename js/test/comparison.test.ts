import { describe, expect, it } from "vitest";
import { differenceOf, placesOf, rowsOf, subtract } from "../algebra/alignment.ts";
import type { AlignedRows, Token } from "../protocol.ts";
import { tokensOf } from "../testing/mock.ts";

const spelled = (caption: string) => ({ caption, tokens: tokensOf(caption) });
const names = ({ caption, tokens }: { caption: string; tokens: readonly Token[] }) =>
  tokens
    .filter((token) => !token.special)
    .map(({ start, end }) =>
      Array.from(caption)
        .slice(start ?? 0, end ?? 0)
        .join(""),
    );

describe("the difference of two captions", () => {
  it("shows equal words once and replaced ones with a minus", () => {
    const pairs: AlignedRows[] = [
      [0, 0],
      [1, 1],
      [2, 2],
      [3, 3],
      [4, 4],
    ];
    const difference = differenceOf(spelled("a black dog"), spelled("a brown dog"), pairs);
    expect(difference.caption).toBe("a black − brown dog");
    expect(names(difference)).toEqual(["a", "black − brown", "dog"]);
    expect(difference.tokens.map(({ special }) => special)).toEqual([
      true,
      false,
      false,
      false,
      true,
    ]);
  });

  it("keeps words that only one side has", () => {
    const pairs: AlignedRows[] = [
      [0, 0],
      [1, null],
      [2, 1],
      [null, 2],
      [3, 3],
    ];
    const difference = differenceOf(spelled("small dog"), spelled("dog sleeps"), pairs);
    expect(difference.caption).toBe("small dog − sleeps");
    expect(names(difference)).toEqual(["small", "dog", "− sleeps"]);
  });

  it("joins the pieces of paired words", () => {
    const foil = spelled("brownish dog");
    const piece = (text: string, start: number) => ({
      text,
      word: 0,
      special: false,
      start,
      end: start + text.length,
    });
    const [sot, , dog, eot] = foil.tokens as [Token, Token, Token, Token];
    foil.tokens = [sot, piece("brown", 0), piece("ish", 5), dog, eot];
    const pairs: AlignedRows[] = [
      [0, 0],
      [1, 1],
      [null, 2],
      [2, 3],
      [3, 4],
    ];
    const difference = differenceOf(spelled("black dog"), foil, pairs);
    expect(difference.caption).toBe("black − brownish dog");
    const words = difference.tokens.map(({ word }) => word);
    expect(words).toEqual([-1, 0, 0, 1, -1]);
  });

  it("counts code points, as offsets do", () => {
    const pairs: AlignedRows[] = [
      [0, 0],
      [1, 1],
      [2, 2],
      [3, 3],
    ];
    const difference = differenceOf(spelled("🐟 dog"), spelled("🐠 dog"), pairs);
    expect(names(difference)).toEqual(["🐟 − 🐠", "dog"]);
  });
});

describe("the difference of interactions", () => {
  const matrix = (tokens: number, values: number[]) => ({
    tokens,
    rows: 1,
    columns: 2,
    values: new Float32Array(values),
    cls: new Float32Array(values.slice(0, tokens)),
  });

  it("is caption minus foil, row by row; a row without a counterpart counts alone", () => {
    const caption = matrix(2, [1, 2, 3, 4]);
    const foil = matrix(2, [0.5, 1, 8, 16]);
    const difference = subtract(caption, foil, [
      [0, 0],
      [1, null],
      [null, 1],
    ]);
    expect([...difference.values]).toEqual([0.5, 1, 3, 4, -8, -16]);
    expect([...difference.cls]).toEqual([0.5, 2, -1]);
    expect(difference.tokens).toBe(3);
    expect([...caption.values]).toEqual([1, 2, 3, 4]);
  });
});

describe("rows and places", () => {
  const pairs: AlignedRows[] = [
    [0, 0],
    [1, null],
    [null, 1],
    [2, 2],
  ];
  it("convert from one side to the other", () => {
    expect(placesOf(pairs, 0, [1, 2])).toEqual([1, 3]);
    expect(placesOf(pairs, 1, [1, 2])).toEqual([2, 3]);
    expect(rowsOf(pairs, 1, [1, 2, 3])).toEqual([1, 2]);
    expect(rowsOf(pairs, 0, [1, 2, 3])).toEqual([1, 2]);
  });
});
