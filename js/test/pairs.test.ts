import { describe, expect, it } from "vitest";
import { userEvent } from "vitest/browser";
import { type Interactions, interactionOf } from "../algebra/interactions.ts";
import { strongestPairs } from "../algebra/strongest-pairs.ts";
import { center, click, open, painted } from "../testing/harness.ts";
import { payload, tokensOf, wholeImage } from "../testing/mock.ts";

const [ROWS, COLUMNS] = [4, 6];

/** Return a matrix drawn in digits: each is that many hundredths, negative after a "-". */
function matrix(...rows: string[]): Interactions {
  const values = rows.flatMap((row) => (row.match(/-?\d/g) ?? []).map((n) => Number(n) / 100));
  return {
    tokens: rows.length,
    rows: ROWS,
    columns: COLUMNS,
    values: Float32Array.from(values),
    cls: new Float32Array(rows.length),
  };
}

/** Return words for these rows, one each. */
const wordsOf = (texts: string, first: number) =>
  texts.split(" ").map((text, i) => ({ text, tokens: [first + i] }));

const NONE = "000000 000000 000000 000000";
// A blob of 8 with a fringe of 3, and a second one of 6 on the other side.
const BOAT = "380000 880006 300066 000000";
const RED = "040000 440000 000000 000000";
const SEA = "00-5-500 000000 000000 000000";

describe("the strongest pairs", () => {
  const a = matrix(NONE, RED, BOAT, SEA, NONE);
  const { positive, negative } = strongestPairs(a, wordsOf("red boat sea", 1), 3);

  it("grow from a peak down to half of it, and join the words that share it", () => {
    expect(positive[0]).toMatchObject({ text: "red boat", tokens: [1, 2], region: [1, 6, 7] });
    expect(positive[0]?.value).toBeCloseTo(0.24 + 0.12, 6);
  });

  it("find a second region of the same word", () => {
    expect(positive[1]).toMatchObject({ tokens: [2], region: [11, 16, 17] });
  });

  it("keep the signs apart", () => {
    expect(negative).toHaveLength(1);
    expect(negative[0]).toMatchObject({ tokens: [3], region: [2, 3] });
    expect(negative[0]?.value).toBeLessThan(0);
  });

  it("have the interaction of phrase and region as their value", () => {
    for (const { tokens, region, value } of [...positive, ...negative]) {
      expect(value).toBeCloseTo(interactionOf(a, tokens, region), 10);
    }
  });

  it("leave out repeated findings, and faint ones", () => {
    // "red" alone in the same place is the same finding.
    expect(positive).toHaveLength(2);
    const faint = matrix(BOAT, "000000 000000 000000 000001");
    const found = strongestPairs(faint, wordsOf("boat sea", 0), 9).positive;
    expect(found.map(({ text }) => text)).toEqual(["boat", "boat"]);
  });

  it("end where a noun phrase does", () => {
    const found = (texts: string, ...rows: string[]) =>
      strongestPairs(
        matrix(...rows),
        wordsOf(texts, 0).map((word) => ({ ...word, alone: /^(on|left|,)$/.test(word.text) })),
        3,
      ).positive.map(({ text }) => text);
    const one = "380000 880000 300000 000000";
    const half = "040000 440000 000000 000000";
    const tenth = "020000 100000 000000 000000";
    // A word before another needs half of its sum, one after it a tenth.
    expect(found("big boat", half, one)).toEqual(["big boat"]);
    expect(found("big boat", tenth, one)).toEqual(["boat"]);
    expect(found("boat trip", one, tenth)).toEqual(["boat trip"]);
    expect(found("boat trip", one, "010000 100000 000000 000000")).toEqual(["boat"]);
    // Function words join on neither side, and nothing joins across them.
    expect(found("on boat , boat", tenth, one, half, one)).toEqual(["boat", "boat", ","]);
    // They form pairs by themselves if they have half of the strongest pair's value.
    expect(found("boat left", half, one)).toEqual(["left", "boat"]);
    expect(found("boat left", one, "030000 330000 000000 000000")).toEqual(["boat"]);
  });

  it("are empty if there is nothing to find", () => {
    expect(strongestPairs(matrix(NONE), wordsOf("boat", 0), 3)).toEqual({
      positive: [],
      negative: [],
    });
    expect(strongestPairs(matrix(NONE), [], 3)).toEqual({ positive: [], negative: [] });
  });
});

describe("the list of pairs", () => {
  const a = matrix(NONE, RED, BOAT, SEA, NONE);
  const shown = async () => {
    const { view, model } = await open({
      caption: "red boat sea",
      _tokens: tokensOf("red boat sea"),
      _grid: wholeImage(ROWS, COLUMNS),
      _result: payload(a.values, a.cls),
    });
    const list = view.find("exclip-pairs");
    await expect.poll(() => list.querySelectorAll("button").length).toBe(3);
    return { view, model, buttons: [...list.querySelectorAll("button")] };
  };

  it("shows the phrase and its value", async () => {
    const { buttons } = await shown();
    expect(buttons[0]?.textContent).toBe("red boatand 3 patches,+0.360");
    expect(buttons[2]?.textContent).toContain("−0.100");
  });

  it("a click selects both sides, a second one clears", async () => {
    const { model, buttons } = await shown();
    await click(center(buttons[0] as Element));
    expect(model.get("tokens")).toEqual([1, 2]);
    expect(model.get("region")).toEqual([1, 6, 7]);
    expect(buttons[0]?.getAttribute("aria-pressed")).toBe("true");
    expect(buttons[1]?.getAttribute("aria-pressed")).toBe("false");
    await click(center(buttons[0] as Element));
    expect(model.get("tokens")).toEqual([]);
    expect(model.get("region")).toEqual([]);
  });

  it("hovering previews both sides and stores nothing", async () => {
    const { view, model, buttons } = await shown();
    const before = view.pixels();
    await userEvent.hover(buttons[0] as Element);
    await painted();
    expect(view.pixels()).not.toBe(before);
    expect(view.el.querySelectorAll(".exclip-under")).toHaveLength(2);
    await userEvent.unhover(buttons[0] as Element);
    await painted();
    expect(view.pixels()).toBe(before);
    expect(model.saved).toBe(0);
  });

  it("works from the keyboard: one Tab stop, arrow keys, Enter", async () => {
    const { view, model, buttons } = await shown();
    expect(buttons.filter(({ tabIndex }) => tabIndex === 0)).toHaveLength(1);
    buttons[0]?.focus();
    await userEvent.keyboard("{ArrowDown}{Enter}");
    expect(model.get("tokens")).toEqual([2]);
    expect(model.get("region")).toEqual([11, 16, 17]);
    expect(view.figure("selection")).toBeCloseTo(0.18, 6);
  });
});
