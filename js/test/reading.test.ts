import { describe, expect, it } from "vitest";
import { userEvent } from "vitest/browser";
import { accountOf } from "../algebra/account.ts";
import {
  center,
  click,
  drag,
  entry,
  open,
  PATCHES,
  painted,
  range,
  sum,
  type View,
} from "../testing/harness.ts";
import { payload } from "../testing/mock.ts";
import { colormap, opacity, palettes } from "../view/colormap.ts";
import { aligned, rounded } from "../view/number-format.ts";

const ALL = range(PATCHES);
const WORDS = [1, 2, 3];
const CLS = [0.01, -0.02, 0.003, 0.004, 0.005];
const withClass = () =>
  payload(
    range(5 * PATCHES).map((i) => entry(Math.floor(i / PATCHES), i % PATCHES)),
    CLS,
  );

const part = (view: View, name: string) => {
  const found = view.el.querySelector<HTMLElement>(`[data-figure="${name}"]`);
  if (!found) throw new Error(`no part ${name}`);
  return found;
};
const visible = (view: View) =>
  [...view.el.querySelectorAll<HTMLElement>("[data-figure]")]
    .filter(({ hidden }) => !hidden)
    .map((node) => node.dataset.figure);
const shown = (node: HTMLElement) =>
  Number((node.querySelector(".exclip-number")?.textContent ?? "").replace("−", "-"));
const PARTS = ["selection", "rest", "special", "class", "reference", "residual"];
const press = async (view: View, name: string) => {
  const button = view.el.querySelector(`button[aria-label="${name}"]`);
  if (!button) throw new Error(`no button ${name}`);
  await click(center(button));
  await painted();
};

describe("the receipt", () => {
  it("adds up to the similarity, exactly, whatever is selected", async () => {
    const { model, view } = await open({ _result: withClass() });
    for (const [tokens, region] of [
      [[], []],
      [[2], []],
      [[], [0, 5]],
      [
        [1, 3],
        [2, 3, 7],
      ],
      [[0, 2, 4], [1]],
    ] as const) {
      model.set("tokens", [...tokens]);
      model.set("region", [...region]);
      const total = PARTS.reduce((sum, name) => sum + view.figure(name), 0);
      expect(total).toBeCloseTo(0.412, 12);
      // As shown, too, digit by digit.
      const printed = PARTS.reduce(
        (sum, name) => sum + Math.round(1e4 * shown(part(view, name))),
        0,
      );
      expect(printed).toBe(4120);
    }
  });

  it("says what each part is", async () => {
    const { view } = await open({ _result: withClass(), tokens: [2], region: [4, 5] });
    const sums = { selection: sum([2], [4, 5]), words: sum(WORDS, ALL), special: sum([0, 4], ALL) };
    const cls = CLS.reduce((a, b) => a + b, 0);
    expect(view.figure("selection")).toBeCloseTo(sums.selection, 8);
    expect(view.figure("rest")).toBeCloseTo(sums.words - sums.selection, 8);
    expect(view.figure("special")).toBeCloseTo(sums.special, 8);
    expect(view.figure("class")).toBeCloseTo(cls, 8);
    expect(view.figure("reference")).toBeCloseTo(0.012, 8);
    expect(view.figure("residual")).toBeCloseTo(0.4 - sums.words - sums.special - cls, 8);
    expect(part(view, "selection").textContent).toContain("red × 2 patches");
  });

  it("draws each part where the last one ended", async () => {
    const { view } = await open({ _result: withClass() });
    const ends = PARTS.map((name) => {
      const fill = part(view, name).querySelector(".exclip-fill")?.getBoundingClientRect();
      const track = part(view, name).querySelector(".exclip-track")?.getBoundingClientRect();
      if (!fill || !track) throw new Error("no bar");
      const [left, right] = [fill.left - track.left, fill.right - track.left];
      return view.figure(name) > 0 ? [left, right] : [right, left];
    });
    ends.slice(1).forEach(([start = 0], i) => {
      expect(Math.abs(start - (ends[i]?.[1] ?? 0))).toBeLessThan(1.5);
    });
  });

  it("counts selected special tokens once", () => {
    const a = {
      tokens: 3,
      rows: 1,
      columns: 2,
      values: Float32Array.from([1, 2, 4, 8, 16, 32]),
      cls: Float32Array.from([64, 0, 0]),
    };
    const { parts } = accountOf(a, [1], [0, 1], [0], { similarity: 200, total: 130 });
    expect(Object.fromEntries(parts.map(({ name, value }) => [name, value]))).toEqual({
      selection: 5,
      rest: 8,
      special: 50,
      class: 64,
      reference: 70,
      residual: 3,
    });
  });

  it("does not claim completeness for a method that has none", async () => {
    const { view } = await open({
      _summary: { similarity: 0.412, total: null, residual: null, error: null },
    });
    expect(visible(view)).toEqual([
      "selection",
      "rest",
      "special",
      "class",
      "unexplained",
      "similarity",
    ]);
    expect(view.figure("unexplained")).toBeCloseTo(0.412 - sum(range(5), ALL), 8);
    expect(view.find("exclip-readout").textContent).toContain("leaves out");
  });

  it("has a line each for what words and patches add by themselves", async () => {
    const { view } = await open({
      _summary: { similarity: 0.412, total: 0.4, residual: 0.01, own: [0.05, -0.02], error: null },
    });
    expect(visible(view)).toContain("words");
    expect(view.figure("words")).toBeCloseTo(0.05, 8);
    expect(view.figure("patches")).toBeCloseTo(-0.02, 8);
    expect(view.figure("reference")).toBeCloseTo(0.412 - 0.4 - 0.05 + 0.02, 8);
  });

  it("keeps room for the kernel's numbers until they arrive", async () => {
    const { view } = await open({ _summary: null });
    expect(visible(view)).toEqual([
      ...PARTS.slice(0, 4),
      "words",
      "patches",
      ...PARTS.slice(4),
      "similarity",
    ]);
    expect(part(view, "similarity").textContent).toContain("–");
    expect(view.figure("selection")).toBeCloseTo(sum(WORDS, ALL), 8);
  });

  it("explains the part that is pointed at or focused", async () => {
    const { view } = await open();
    const note = view.el.querySelector(".exclip-explain");
    expect(note?.textContent).toContain("sum of all parts");
    await userEvent.hover(part(view, "reference"));
    expect(note?.textContent).toContain("references share: 2.9 % of the similarity");
    await userEvent.unhover(part(view, "reference"));
    expect(note?.textContent).toContain("sum of all parts");
    part(view, "selection").focus();
    await userEvent.keyboard("{ArrowDown}{ArrowDown}{ArrowDown}");
    expect(document.activeElement).toBe(part(view, "class"));
    expect(note?.textContent).toContain("with the class token");
    expect(part(view, "class").getAttribute("aria-label")).toMatch(
      /^class token: .*with the class token/,
    );
    // Skips the row that is hidden for this method.
    await userEvent.keyboard("{ArrowDown}{ArrowDown}{ArrowDown}");
    expect(document.activeElement).toBe(part(view, "similarity"));
  });

  it("shows where the special tokens are, when pointed at", async () => {
    const { view } = await open();
    const before = view.pixels();
    await userEvent.hover(part(view, "special"));
    await painted();
    expect(view.pixels()).not.toBe(before);
    await userEvent.unhover(part(view, "special"));
    await painted();
    expect(view.pixels()).toBe(before);
  });
});

describe("numbers", () => {
  it("are rounded so that they add up as shown", () => {
    const { summands, total } = rounded([1.00004, 0.3332, 0.3334, 0.3333], 1.99994);
    expect(total).toBe("2.000");
    expect(summands).toEqual(["+1.000", "+0.333", "+0.334", "+0.333"]);
    expect(rounded([0, -0.25], -0.25).summands).toEqual(["0", "−0.2500"]);
  });

  it("have the same decimals in a column", () => {
    expect(aligned([0.1234567, -0.00012, 0])).toEqual(["+0.1235", "−0.0001", "0"]);
  });
});

const scaleOf = (view: View) => Number(view.canvas.dataset.scale);
const legend = (view: View) => view.find("exclip-legend");
const lock = (view: View) => click(center(legend(view).querySelector("button") as Element));

describe("the scale", () => {
  it("follows the selection until it is locked", async () => {
    const { model, view } = await open();
    const free = scaleOf(view);
    await lock(view);
    model.set("tokens", [1]);
    expect(scaleOf(view)).toBe(free);
    expect(legend(view).querySelector("button")?.getAttribute("aria-pressed")).toBe("true");
    await lock(view);
    expect(scaleOf(view)).not.toBe(free);
  });

  it("says what lies beyond it when locked", async () => {
    const { model, view } = await open({ tokens: [1] });
    await lock(view);
    const end = scaleOf(view);
    model.set("tokens", []);
    expect(scaleOf(view)).toBe(end);
    expect(legend(view).textContent).toContain("up to");
  });

  it("never makes weak values look strong, and says so", async () => {
    const values = [0, 0.004, 0.4, 0, 0].flatMap((value) => ALL.map(() => value));
    const { view } = await open({ _result: payload(values, range(5)), tokens: [1] });
    expect(scaleOf(view)).toBeCloseTo(0.1, 6);
    expect(legend(view).textContent).toContain("faint");
    expect(legend(view).querySelector("button")?.dataset.hint).toContain("never below ±0.100");
  });

  it("shows its numbers, and the range of the values", async () => {
    const { view } = await open({ tokens: [2] });
    const values = ALL.map((patch) => sum([2], [patch]));
    const end = scaleOf(view);
    const range = legend(view).querySelector<HTMLElement>(".exclip-range")?.style;
    expect(Number.parseFloat(range?.left ?? "")).toBeCloseTo(
      50 + (50 * Math.min(...values, 0)) / end,
      3,
    );
    expect(Number.parseFloat(range?.right ?? "")).toBeCloseTo(
      50 - (50 * Math.max(...values, 0)) / end,
      3,
    );
    expect(legend(view).querySelector('[role="img"]')?.getAttribute("aria-label")).toMatch(
      /^Scale from −0\.0\d+ to 0\.0\d+, cosine similarity per patch; values from/,
    );
  });

  it("marks the value under the pointer", async () => {
    const { view } = await open();
    await drag([[0, 0], view.patch(6)]);
    await userEvent.keyboard("{Escape}");
    view.canvas.focus();
    await userEvent.keyboard("{ArrowRight}{ArrowRight}");
    expect(legend(view).querySelector<HTMLElement>(".exclip-mark")?.hidden).toBe(false);
    const value = sum(WORDS, [1]);
    const text = legend(view).querySelector(".exclip-pointed")?.textContent ?? "";
    expect(Number(text.replace("−", "-"))).toBeCloseTo(value, 4);
  });
});

describe("appearance", () => {
  const heat = () => ALL.map((patch) => sum(WORDS, [patch]));

  it("is hidden until asked for", async () => {
    const { view } = await open();
    expect(view.find("exclip-appearance").hidden).toBe(true);
    await press(view, "Appearance");
    expect(view.find("exclip-appearance").hidden).toBe(false);
  });

  it("shows one sign alone", async () => {
    const { view } = await open();
    await press(view, "Appearance");
    await press(view, "Only what speaks for the match");
    heat().forEach((value, patch) => {
      expect((view.pixel(patch)[3] ?? 0) > 0).toBe(value > 0);
    });
    await press(view, "Only what speaks against it");
    heat().forEach((value, patch) => {
      expect((view.pixel(patch)[3] ?? 0) > 0).toBe(value < 0);
    });
    await press(view, "Both signs");
    expect(view.pixel(0)[3]).toBeGreaterThan(0);
  });

  it("sets the strength, down to the bare image", async () => {
    const { view } = await open();
    await press(view, "Appearance");
    const slider = view.find("exclip-appearance").querySelector("input");
    const strongest = heat().reduce(
      (best, value, i, all) => (Math.abs(value) > Math.abs(all[best] ?? 0) ? i : best),
      0,
    );
    expect(view.pixel(strongest)[3]).toBe(Math.round(255 * opacity(1)));
    slider?.focus();
    await userEvent.keyboard("{Home}");
    await painted();
    for (const patch of ALL) expect(view.pixel(patch)[3]).toBe(0);
    const image = view.el.querySelector("img");
    expect(image && getComputedStyle(image).opacity).toBe("1");
  });

  it("changes the colours", async () => {
    document.body.dataset.jpThemeLight = "true";
    const { view } = await open();
    await press(view, "Appearance");
    const strongest = heat().findIndex(
      (value) => Math.abs(value) === Math.max(...heat().map(Math.abs)),
    );
    for (const palette of palettes.toReversed()) {
      await press(view, `Colours ${palette}`);
      const wanted = colormap(palette, "light").at(Math.sign(heat()[strongest] ?? 0));
      view
        .pixel(strongest)
        .slice(0, 3)
        .forEach((value, i) => {
          expect(Math.abs(value - (wanted[i] ?? 0))).toBeLessThanOrEqual(3);
        });
    }
  });

  it("smooths between patches, and keeps the values at their centres", async () => {
    const values = range(5).flatMap((token) =>
      ALL.map((patch) => (token === 2 && patch % 4 < 2 ? 0.01 : 0)),
    );
    const { view } = await open({ _result: payload(values, range(5)), tokens: [2] });
    const { width, height } = view.canvas;
    const alphas = () =>
      [0.1, 0.42, 0.48, 0.52, 0.58, 0.9].map(
        (x) => view.canvas.getContext("2d")?.getImageData(width * x, height / 2, 1, 1).data[3] ?? 0,
      );
    const strong = Math.round(255 * opacity(1));
    expect(alphas()).toEqual([strong, strong, strong, 0, 0, 0]);
    await press(view, "Appearance");
    await press(view, "Smooth between patches");
    const smooth = alphas();
    expect(smooth[0]).toBe(strong);
    expect(smooth[5]).toBe(0);
    expect(smooth).toEqual(smooth.toSorted((a, b) => b - a));
    expect(new Set(smooth).size).toBeGreaterThan(4);
  });
});

describe("the tables", () => {
  const opened = async (changes = {}) => {
    const { view, model } = await open({ _result: withClass(), ...changes });
    const tables = view.find("exclip-tables");
    expect(tables.hidden).toBe(true);
    await press(view, "Table of the numbers");
    expect(tables.hidden).toBe(false);
    const [words, patches] = [...tables.querySelectorAll("table")];
    if (!words || !patches) throw new Error("no tables");
    return { view, model, words, patches };
  };
  const rows = (table: HTMLTableElement) => [...(table.tBodies[0]?.rows ?? [])];
  const names = (table: HTMLTableElement) => rows(table).map((row) => row.cells[0]?.textContent);
  const numbers = (table: HTMLTableElement, column: number) =>
    rows(table).map((row) => Number(row.cells[column]?.dataset.value));
  const sort = (table: HTMLTableElement, column: number) =>
    click(center(table.tHead?.rows[0]?.cells[column]?.querySelector("button") as Element));

  it("list the words with their marginals, special tokens last", async () => {
    const { words } = await opened({ region: [3, 4] });
    expect(words.caption?.textContent).toBe("Words");
    expect(names(words)).toEqual(["a", "red", "boat", "<sot>", "<eot>"]);
    [1, 2, 3, 0, 4].forEach((token, i) => {
      expect(numbers(words, 1)[i]).toBeCloseTo(sum([token], ALL), 8);
      expect(numbers(words, 2)[i]).toBeCloseTo(sum([token], [3, 4]), 8);
      expect(numbers(words, 3)[i]).toBeCloseTo(CLS[token] ?? 0, 8);
    });
  });

  it("list the strongest patches of the selected words", async () => {
    const { patches } = await opened({ tokens: [2] });
    const sizes = numbers(patches, 1).map(Math.abs);
    expect(sizes).toEqual(sizes.toSorted((a, b) => b - a));
    const strongest = Math.max(...ALL.map((patch) => Math.abs(sum([2], [patch]))));
    expect(sizes[0]).toBeCloseTo(strongest, 8);
    expect(names(patches)[0]).toMatch(/^row \d, column \d$/);
  });

  it("can be sorted by any column, both ways, and back", async () => {
    const { words } = await opened();
    const head = words.tHead?.rows[0]?.cells[1];
    await sort(words, 1);
    expect(head?.getAttribute("aria-sort")).toBe("descending");
    expect(numbers(words, 1)).toEqual(numbers(words, 1).toSorted((a, b) => b - a));
    await sort(words, 1);
    expect(head?.getAttribute("aria-sort")).toBe("ascending");
    expect(numbers(words, 1)).toEqual(numbers(words, 1).toSorted((a, b) => a - b));
    await sort(words, 1);
    expect(head?.getAttribute("aria-sort")).toBe("none");
    expect(names(words)[0]).toBe("a");
  });

  it("select what is listed, from the keyboard too", async () => {
    const { view, model, words, patches } = await opened();
    await click(center(rows(words)[1]?.querySelector("button") as Element));
    expect(model.get("tokens")).toEqual([2]);
    rows(words)[2]?.querySelector("button")?.focus();
    await userEvent.keyboard("{Enter}");
    expect(model.get("tokens")).toEqual([2, 3]);
    expect(document.activeElement?.textContent).toBe("boat");
    await userEvent.keyboard("{Enter}");
    expect(model.get("tokens")).toEqual([2]);
    await click(center(rows(patches)[0]?.querySelector("button") as Element));
    expect(model.get("region")).toHaveLength(1);
    expect(view.pressed).toEqual(["red"]);
  });
});
