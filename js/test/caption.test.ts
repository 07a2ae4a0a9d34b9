import { describe, expect, it } from "vitest";
import { type Part, partsOf } from "../algebra/words.ts";
import type { Token } from "../protocol.ts";
import { tokensOf } from "../testing/mock.ts";

const shown = (parts: Part[]) =>
  parts.map((part) => ("word" in part ? `[${part.word.text}]` : part.between)).join("");

const piece = (text: string, word: number, start: number | null, end: number | null): Token => ({
  text,
  word,
  special: false,
  start,
  end,
});

describe("words of the caption", () => {
  it("keep the caption's own spelling", () => {
    const tokens = [
      piece("a", 0, 0, 1),
      piece("sail", 1, 3, 7),
      piece("boat", 1, 7, 11),
      piece("!", 2, 11, 12),
    ];
    const parts = partsOf("A  SailBoat!", tokens);
    expect(shown(parts)).toBe("[A]  [SailBoat][!]");
    expect(parts[2]).toMatchObject({ word: { text: "SailBoat", tokens: [1, 2], special: false } });
  });

  it("leave out special tokens", () => {
    expect(shown(partsOf("red boat", tokensOf("red boat")))).toBe("[red] [boat]");
  });

  it("count code points, not UTF-16 units", () => {
    const caption = "🐟🐟 é 👩‍👩‍👧 boat";
    expect(shown(partsOf(caption, tokensOf(caption)))).toBe("[🐟🐟] [é] [👩‍👩‍👧] [boat]");
  });

  it("show a token with no place in the caption as its own text", () => {
    const tokens = [piece("red", 0, 0, 3), piece("ghost", 1, null, null), piece("boat", 2, 4, 8)];
    expect(shown(partsOf("red boat", tokens))).toBe("[red] [ghost] [boat]");
  });

  it("keep what the model never read as plain text", () => {
    expect(shown(partsOf("red boat at sea", [piece("red", 0, 0, 3)]))).toBe("[red] boat at sea");
  });

  it("tolerate places that overlap or lie outside", () => {
    const tokens = [piece("ab", 0, 0, 4), piece("cd", 1, 2, 90), piece("x", 2, 99, 120)];
    expect(shown(partsOf("abcdef", tokens))).toBe("[abcd][ef] [x]");
  });

  it("accept an empty caption", () => {
    expect(partsOf("", [])).toEqual([]);
  });
});
