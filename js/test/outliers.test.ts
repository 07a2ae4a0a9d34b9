import { describe, expect, it } from "vitest";
import { userEvent } from "vitest/browser";
import { hide } from "../algebra/interactions.ts";
import type { Summary } from "../protocol.ts";
import {
  center,
  click,
  open,
  PATCHES,
  painted,
  range,
  result,
  sum,
  type View,
} from "../testing/harness.ts";
import { tokensOf } from "../testing/mock.ts";

const OUTLIERS = [5, 6];
const ALL = range(PATCHES);
const OTHERS = ALL.filter((patch) => !OUTLIERS.includes(patch));
const WORDS = [1, 2, 3];
const SUMMARY: Summary = {
  similarity: 0.412,
  total: 0.4,
  residual: 0.01,
  own: null,
  error: null,
  outliers: OUTLIERS,
};

const toggle = (view: View) => {
  const found = view.el.querySelector<HTMLElement>('[aria-label="Hide outlier patches"]');
  if (!found) throw new Error("no switch");
  return found;
};
const press = async (view: View) => {
  await click(center(toggle(view)));
  await painted();
};
const line = (view: View) => view.el.querySelector<HTMLElement>('[data-figure="outlier"]');
/** Return the colour in the middle of a patch, inside the ring that marks it. */
const ring = (view: View, patch: number) => {
  const [x, y] = view.patch(patch);
  const { left, top, width } = view.canvas.getBoundingClientRect();
  const unit = view.canvas.width / width;
  const [atX, atY] = [(x - left + 3) * unit, (y - top) * unit];
  return [...(view.canvas.getContext("2d")?.getImageData(atX, atY, 1, 1).data ?? [])];
};
const PARTS = ["selection", "rest", "outlier", "special", "class", "reference", "residual"];
const total = (view: View) => PARTS.reduce((all, name) => all + (view.figure(name) || 0), 0);

describe("outlier patches", () => {
  it("have a line in the receipt, which still adds up", async () => {
    const { model, view } = await open({ _summary: SUMMARY });
    expect(line(view)?.hidden).toBe(false);
    expect(view.figure("selection")).toBeCloseTo(sum(WORDS, OTHERS), 8);
    expect(view.figure("outlier")).toBeCloseTo(sum(WORDS, OUTLIERS), 8);
    expect(view.figure("rest")).toBeCloseTo(0, 8);
    expect(total(view)).toBeCloseTo(0.412, 12);
    model.set("tokens", [2]);
    model.set("region", [0, 5]);
    expect(view.figure("selection")).toBeCloseTo(sum([2], [0, 5]), 8);
    expect(view.figure("outlier")).toBeCloseTo(sum(WORDS, OUTLIERS) - sum([2], [5]), 8);
    expect(total(view)).toBeCloseTo(0.412, 12);
  });

  it("are marked on the image, with and without their heat", async () => {
    const { view: plain } = await open({ _summary: { ...SUMMARY, outliers: [] } });
    const unmarked = ALL.map((patch) => [ring(plain, patch), plain.pixel(patch)]);
    plain.close();
    const { view } = await open({ _summary: SUMMARY });
    for (const patch of ALL) {
      const [around, heat] = unmarked[patch] ?? [];
      if (OUTLIERS.includes(patch)) expect(ring(view, patch)).not.toEqual(around);
      else expect(ring(view, patch)).toEqual(around);
      expect(view.pixel(patch)).toEqual(heat);
    }
    await press(view);
    for (const patch of OUTLIERS) {
      expect(view.pixel(patch)[3]).toBe(0);
      expect(ring(view, patch)[3]).toBeGreaterThan(100);
    }
  });

  it("are hidden by a switch, and then count as the class token's", async () => {
    const { view } = await open({ _summary: SUMMARY });
    const before = ["special", "class"].map((name) => view.figure(name));
    await press(view);
    expect(toggle(view).getAttribute("aria-pressed")).toBe("true");
    expect(line(view)?.hidden).toBe(true);
    expect(view.figure("selection")).toBeCloseTo(sum(WORDS, OTHERS), 8);
    expect(view.figure("special")).toBeCloseTo(sum([0, 4], OTHERS), 8);
    expect(view.figure("class")).toBeCloseTo(sum(range(5), OUTLIERS), 8);
    expect(total(view)).toBeCloseTo(0.412, 8);
    expect(view.values()[1]).toBeCloseTo(sum([2], OTHERS), 8);
    await press(view);
    expect(["special", "class"].map((name) => view.figure(name))).toEqual(before);
    expect(view.values()[1]).toBeCloseTo(sum([2], ALL), 8);
  });

  it("are hidden in the foil and the difference too", async () => {
    const foil = "a blue boat";
    const { view } = await open({
      foil,
      _foil_tokens: tokensOf(foil),
      _foil_result: result(5),
      _alignment: range(5).map((row) => [row, row] as const),
      _summary: { ...SUMMARY, foil_similarity: 0.3, foil_total: 0.3 } as Summary,
    });
    await press(view);
    await click(center(view.find("exclip-line-foil").querySelector("button") as Element));
    await painted();
    expect(view.figure("class")).toBeCloseTo(sum(range(5), OUTLIERS), 8);
    expect(line(view)?.hidden).toBe(true);
    await press(view);
    expect(view.figure("outlier")).toBeCloseTo(sum(WORDS, OUTLIERS), 8);
  });

  it("have neither line nor switch if there are none or none are known yet", async () => {
    for (const _summary of [
      null,
      { ...SUMMARY, outliers: [] },
      { ...SUMMARY, outliers: undefined },
    ]) {
      const { view } = await open({ _summary });
      expect(line(view)?.hidden).toBe(true);
      expect(getComputedStyle(toggle(view)).display).toBe("none");
    }
  });

  it("beyond the grid are ignored", async () => {
    const { view } = await open({ _summary: { ...SUMMARY, outliers: [5, PATCHES, 400] } });
    await press(view);
    expect(view.figure("class")).toBeCloseTo(sum(range(5), [5]), 8);
    expect(view.values()[0]).toBeCloseTo(sum([1], [...OTHERS, 6]), 8);
  });

  it("are announced when the keyboard's cursor reaches them", async () => {
    const { view } = await open({ _summary: SUMMARY });
    view.canvas.focus();
    await userEvent.keyboard("{ArrowDown}{ArrowDown}{ArrowRight}");
    const live = view.el.querySelector("[aria-live]");
    await expect.poll(() => live?.textContent).toMatch(/^Row 2, column 2, .*, outlier$/);
  });

  it("leave the given interactions unchanged", () => {
    const a = {
      tokens: 2,
      rows: 1,
      columns: 3,
      values: Float32Array.from([1, 2, 4, 8, 16, 32]),
      cls: Float32Array.from([64, 0]),
    };
    const hidden = hide(a, [0, 2]);
    expect([...hidden.values]).toEqual([0, 2, 0, 0, 16, 0]);
    expect([...hidden.cls]).toEqual([69, 40]);
    expect([...a.values]).toEqual([1, 2, 4, 8, 16, 32]);
    expect([...a.cls]).toEqual([64, 0]);
  });
});
