import { describe, expect, it } from "vitest";
import { userEvent } from "vitest/browser";
import type { AlignedRows, ToKernel } from "../protocol.ts";
import type { Look } from "../state/looks.ts";
import {
  accept,
  CAPTION,
  click,
  EMPTY,
  entry,
  estimate,
  NOTHING,
  open,
  PATCHES,
  range,
  refuse,
  result,
  sum,
  type View,
} from "../testing/harness.ts";
import { payload, tokensOf } from "../testing/mock.ts";

const FOIL = "a blue big boat";
const ALL = range(PATCHES);
/** "red" is paired with "blue"; "big" has no counterpart. */
const ALIGNMENT: AlignedRows[] = [
  [0, 0],
  [1, 1],
  [2, 2],
  [null, 3],
  [3, 4],
  [4, 5],
];

/** An entry of the foil's matrix: larger than any of the caption's. */
const foilEntry = (row: number, patch: number) => 0.05 - entry(row, patch);
const foilSum = (rows: number[]) =>
  rows.flatMap((row) => ALL.map((p) => Math.fround(foilEntry(row, p)))).reduce((a, b) => a + b, 0);
const foilResult = () =>
  payload(
    range(6 * PATCHES).map((i) => foilEntry(Math.floor(i / PATCHES), i % PATCHES)),
    range(6).map(() => 0),
  );

const FOILED = {
  foil: FOIL,
  _foil_tokens: tokensOf(FOIL),
  _alignment: ALIGNMENT,
  _foil_result: foilResult(),
  _summary: {
    similarity: 0.41,
    total: 0.4,
    residual: 0.008,
    error: null,
    foil_similarity: 0.3,
    foil_total: 0.28,
    own: [0.05, -0.02] as const,
    foil_own: [0.04, 0.01] as const,
  },
};

const look = (view: View, at: Look) =>
  view.find(`exclip-line-${at}`).querySelector<HTMLElement>("button.exclip-name") as HTMLElement;
const texts = (view: View) => view.words.map((node) => node.textContent);
const still = (view: View, at: Look) => [
  ...view.find(`exclip-line-${at}`).querySelectorAll<HTMLElement>(".exclip-still .exclip-word"),
];
const lastSent = (sent: readonly ToKernel[]) => sent.at(-1);

describe("a foil that is not exact", () => {
  const bounds = async (view: View) => {
    const found = [];
    for (const at of ["caption", "foil", "difference"] as const) {
      look(view, at).click();
      const text = view.find("exclip-notice").textContent ?? "";
      found.push(Number(text.match(/±([\d.]+)\./)?.[1] ?? 0));
    }
    return found;
  };
  const { _summary } = FOILED;

  it("has a bound of its own, and the difference has the sum of both", async () => {
    const { view } = await open({
      ...FOILED,
      _summary: { ..._summary, error: 0.023, foil_error: 0.018 },
    });
    expect(await bounds(view)).toEqual([0.023, 0.018, 0.041]);
  });

  it("is the whole bound of the difference if the caption is exact", async () => {
    const { view } = await open({
      ...FOILED,
      _summary: { ..._summary, error: null, foil_error: 0.018 },
    });
    expect(await bounds(view)).toEqual([0, 0.018, 0.018]);
  });

  it("has its bound while it is computed", async () => {
    const { model, view } = await open(FOILED);
    model.begin(1);
    model.receive(...estimate(1, result(5)));
    model.receive(...estimate(1, foilResult(), 0, { part: "foil" }));
    model.receive({ kind: "progress", id: 1, done: 1, total: 4, error: 0.023, foil_error: 0.018 });
    expect(await bounds(view)).toEqual([0.023, 0.018, 0.041]);
    model.receive({ kind: "progress", id: 1, done: 2, total: 4, foil_error: 0.009 });
    expect(await bounds(view)).toEqual([0, 0.009, 0.009]);
  });

  it("has none in a state of an older version, which has only the caption's", async () => {
    const { view } = await open({ ...FOILED, _summary: { ..._summary, error: 0.023 } });
    expect(await bounds(view)).toEqual([0.023, 0, 0]);
    // The receipt still has its sums.
    expect(view.figure("similarity")).toBeCloseTo(0.11, 12);
  });
});

describe("a foil whose numbers come after the caption's", () => {
  const isStale = (view: View) => view.root.classList.contains("exclip-stale");
  const bad = (tokens: number) => payload(Array(tokens * PATCHES).fill(Number.NaN), range(tokens));
  const begun = async (at: Look) => {
    const { model, view } = await open(FOILED);
    look(view, at).click();
    model.begin(1, { image_layer: 3 });
    return { model, view, end: { _result: result(5), _foil_result: foilResult() } };
  };

  it("is marked as old until they come", async () => {
    const { model, view } = await begun("difference");
    expect(isStale(view)).toBe(true);
    model.receive(...estimate(1, result(5)));
    expect(isStale(view)).toBe(true);
    model.receive(...estimate(1, foilResult(), 0, { part: "foil" }));
    expect(isStale(view)).toBe(false);
  });

  it("stays marked if its estimate is dropped, and the notice names it", async () => {
    const { model, view } = await begun("foil");
    model.receive(...estimate(1, result(5)));
    model.receive(...estimate(1, bad(6), 0, { part: "foil" }));
    expect(isStale(view)).toBe(true);
    expect(view.find("exclip-notice").textContent).toBe(
      "Estimate 1 of the foil was dropped: numbers that are not finite.",
    );
  });

  it.each(["foil", "difference"] as const)(
    "shows none of an earlier request if those of the newest cannot be read: %s",
    async (at) => {
      const { model, view, end } = await begun(at);
      model.finish(1, { ...end, _foil_result: bad(6) });
      expect(isStale(view)).toBe(false);
      expect(view.values().some(Number.isFinite)).toBe(false);
      const notice = view.find("exclip-notice");
      expect(notice.textContent).toContain("The saved result of the foil has numbers that are not");
      look(view, "caption").click();
      expect(view.values()[0]).toBeCloseTo(sum([1], ALL), 10);
      model.begin(2);
      expect(notice.hidden).toBe(true);
    },
  );

  it("does not hide what is wrong with the caption's", async () => {
    const { model, view, end } = await begun("caption");
    model.finish(1, { ...end, _result: bad(5) });
    expect(view.find("exclip-notice").textContent).toContain("The saved result of the caption has");
    expect(view.values().some(Number.isFinite)).toBe(false);
    look(view, "foil").click();
    expect(view.values().every(Number.isFinite)).toBe(true);
  });
});

describe("the receipt", () => {
  it.each([
    ["caption", 0.05 / 0.41, "similarity"],
    ["foil", 0.04 / 0.3, "similarity of the foil"],
    ["difference", 0.01 / 0.11, "difference of similarities"],
  ] as const)("says what a part is a share of: %s", async (at, share, sum) => {
    const { view } = await open(FOILED);
    look(view, at).click();
    const part = view.el.querySelector('[data-figure="words"]');
    expect(part?.ariaLabel).toContain(` ${(100 * share).toFixed(1)} % of the ${sum}.`);
    expect(part?.closest("[role=list]")?.ariaLabel).toBe(`What the ${sum} is made of`);
  });
});

describe("a foil", () => {
  it("starts as a copy of the caption, from an unobtrusive button", async () => {
    const { model, view } = await open({ tokens: [2] });
    expect(view.find("exclip-line-difference").hidden).toBe(true);
    const add = view.el.querySelector<HTMLElement>(".exclip-add");
    if (!add) throw new Error("no button");
    await userEvent.click(add);
    expect(view.find<HTMLTextAreaElement>("exclip-field-foil").value).toBe(CAPTION);
    // Caption and result are unchanged.
    expect(texts(view)).toEqual(["a", "red", "boat"]);
    await userEvent.keyboard("blue{Enter}");
    expect(lastSent(model.sent)).toMatchObject({
      kind: "change",
      changes: { foil: "a blue boat" },
    });
    accept(model);
    model.update(FOILED);
    expect(view.find("exclip-line-difference").hidden).toBe(false);
    expect(still(view, "foil").map((node) => node.textContent)).toEqual([
      "a",
      "blue",
      "big",
      "boat",
    ]);
    expect(add.hidden).toBe(true);
  });

  it("is not asked for after Esc", async () => {
    const { model, view } = await open();
    await userEvent.click(view.el.querySelector(".exclip-add") as HTMLElement);
    await userEvent.keyboard("{Escape}");
    expect(lastSent(model.sent)?.kind).not.toBe("change");
    expect(view.el.querySelector("textarea")).toBeNull();
  });

  it.each(["caption", "foil", "difference"] as const)(
    "and its caption are edited from their own selected words while the %s is looked at",
    async (at) => {
      const { view } = await open({ ...FOILED, tokens: [3] });
      await userEvent.click(look(view, at));
      for (const part of ["caption", "foil"]) {
        await userEvent.click(view.el.querySelector(`[aria-label="Edit the ${part}"]`) as Element);
        const field = view.find<HTMLTextAreaElement>(`exclip-field-${part}`);
        const chosen = field.value.slice(field.selectionStart, field.selectionEnd);
        expect([part, chosen]).toEqual([part, "boat"]);
        await userEvent.keyboard("{Escape}");
      }
    },
  );

  it("is refused with a message beneath it", async () => {
    const { model, view } = await open(FOILED);
    const edit = view.el.querySelector<HTMLElement>('[aria-label="Edit the foil"]');
    await userEvent.click(edit as HTMLElement);
    await userEvent.keyboard(" and more{Enter}");
    refuse(model, "The foil is too long.");
    expect(view.find("exclip-refused-foil").textContent).toBe("The foil is too long.");
    expect(view.find("exclip-refused-caption").hidden).toBe(true);
  });

  it("is removed with a button, or by emptying it", async () => {
    const { model, view } = await open(FOILED);
    await userEvent.click(view.el.querySelector('[aria-label="Remove the foil"]') as HTMLElement);
    expect(lastSent(model.sent)).toMatchObject({ kind: "change", changes: { foil: null } });
    const asked = model.sent.length;
    await userEvent.click(view.el.querySelector('[aria-label="Edit the foil"]') as HTMLElement);
    await userEvent.clear(view.find("exclip-field-foil"));
    await userEvent.keyboard("{Enter}");
    expect(model.sent).toHaveLength(asked + 1);
    expect(lastSent(model.sent)).toMatchObject({ kind: "change", changes: { foil: null } });
    model.update({ foil: null, _foil_tokens: [], _alignment: [], _foil_result: EMPTY });
    expect(still(view, "foil")).toEqual([]);
    expect(view.find("exclip-line-difference").hidden).toBe(true);
    expect(view.values()[0]).toBeCloseTo(sum([1], ALL), 8);
  });
});

describe("what is looked at", () => {
  it("is the caption first, then the foil, then their difference", async () => {
    const { view } = await open(FOILED);
    expect(texts(view)).toEqual(["a", "red", "boat"]);
    expect(view.values()[1]).toBeCloseTo(sum([2], ALL), 8);
    const heat = view.pixels();
    await userEvent.click(look(view, "foil"));
    expect(texts(view)).toEqual(["a", "blue", "big", "boat"]);
    expect(view.values()[2]).toBeCloseTo(foilSum([3]), 8);
    await view.settled();
    expect(view.pixels()).not.toBe(heat);
    await userEvent.click(look(view, "difference"));
    expect(texts(view)).toEqual(["a", "red − blue", "− big", "boat"]);
    const values = view.values();
    expect(values[0]).toBeCloseTo(sum([1], ALL) - foilSum([1]), 6);
    expect(values[1]).toBeCloseTo(sum([2], ALL) - foilSum([2]), 6);
    expect(values[2]).toBeCloseTo(-foilSum([3]), 6);
    expect(values[3]).toBeCloseTo(sum([3], ALL) - foilSum([4]), 6);
    expect(look(view, "difference").getAttribute("aria-pressed")).toBe("true");
    expect(look(view, "caption").getAttribute("aria-pressed")).toBe("false");
  });

  it("shares one scale between caption and foil", async () => {
    const { view } = await open(FOILED);
    const ticks = () =>
      [...view.el.querySelectorAll(".exclip-ticks > span")].map((node) => node.textContent);
    const [before, numbers] = [view.canvas.dataset.scale, ticks()];
    await userEvent.click(look(view, "foil"));
    await view.settled();
    expect(view.canvas.dataset.scale).toBe(before);
    expect(ticks()).toEqual(numbers);
  });

  it("shows the other texts' words with their own values", async () => {
    const { view } = await open(FOILED);
    const values = still(view, "foil").map((node) => Number(node.dataset.value));
    expect(values[3]).toBeCloseTo(foilSum([4]), 8);
    expect(still(view, "difference").map((node) => node.textContent)).toEqual([
      "a",
      "red − blue",
      "− big",
      "boat",
    ]);
  });

  it("changes with a click on a word of another line, and selects it", async () => {
    const { model, view } = await open(FOILED);
    await userEvent.click(still(view, "foil")[1] as HTMLElement);
    expect(look(view, "foil").getAttribute("aria-pressed")).toBe("true");
    expect(view.pressed).toEqual(["blue"]);
    expect(model.get("tokens")).toEqual([2]);
    expect(document.activeElement).toBe(view.word("blue"));
  });

  it("has its own numbers", async () => {
    const { view } = await open(FOILED);
    expect(view.figure("similarity")).toBe(0.41);
    await userEvent.click(look(view, "foil"));
    expect(view.figure("similarity")).toBe(0.3);
    expect(view.figure("words")).toBeCloseTo(0.04, 10);
    await userEvent.click(look(view, "difference"));
    expect(view.figure("similarity")).toBeCloseTo(0.11, 10);
    expect(view.figure("words")).toBeCloseTo(0.01, 10);
    expect(view.figure("patches")).toBeCloseTo(-0.03, 10);
  });
});

describe("selecting in two captions", () => {
  it("follows the aligned rows, both ways", async () => {
    const { model, view } = await open({ ...FOILED, tokens: [2] });
    await userEvent.click(look(view, "foil"));
    expect(view.pressed).toEqual(["blue"]);
    await click(view.middle("boat"));
    expect(model.get("tokens")).toEqual([3]);
    await userEvent.click(look(view, "caption"));
    expect(view.pressed).toEqual(["boat"]);
  });

  it("keeps rows that only the foil has, which Python cannot represent", async () => {
    const { model, view } = await open(FOILED);
    await userEvent.click(look(view, "foil"));
    await click(view.middle("big"));
    await click(view.middle("boat"), ["Shift"]);
    expect(view.pressed).toEqual(["big", "boat"]);
    expect(model.get("tokens")).toEqual([3]);
    await userEvent.click(look(view, "difference"));
    expect(view.pressed).toEqual(["− big", "boat"]);
    expect(view.figure("selection")).toBeCloseTo(sum([3], ALL) - foilSum([3, 4]), 6);
  });
});

describe("streaming two captions", () => {
  it("puts each part where it belongs", async () => {
    const { model, view } = await open({ ...FOILED, ...NOTHING, _foil_result: EMPTY });
    model.begin(1);
    const main = payload(
      range(5 * PATCHES).map((i) => entry(Math.floor(i / PATCHES), i % PATCHES)),
      range(5).map(() => 0),
    );
    const foil = foilResult();
    model.receive(...estimate(1, main));
    expect(view.values()[0]).toBeCloseTo(sum([1], ALL), 8);
    expect(still(view, "foil")[0]?.dataset.value).toBeUndefined();
    model.receive(...estimate(1, foil, 0, { part: "foil" }));
    expect(Number(still(view, "foil")[0]?.dataset.value)).toBeCloseTo(foilSum([1]), 8);
    const _summary = { ...FOILED._summary, foil_similarity: 0.1 };
    model.finish(1, { _result: main, _foil_result: foil, _summary });
    await userEvent.click(look(view, "foil"));
    expect(view.figure("similarity")).toBe(0.1);
    expect(view.find("exclip-notice").hidden).toBe(true);
  });
});
