import { describe, expect, it } from "vitest";
import { userEvent } from "vitest/browser";
import { heatOf, largest } from "../algebra/interactions.ts";
import { decode } from "../state/frames.ts";
import {
  COLUMNS,
  click,
  drag,
  open,
  PATCHES,
  painted,
  ROWS,
  range,
  result,
  sum,
} from "../testing/harness.ts";
import { payload } from "../testing/mock.ts";
import { colormap, opacity } from "../view/colormap.ts";

const WORDS = [1, 2, 3];

/** The colour that a patch should have: its value on the scale of the heat map. */
function expected(tokens: number[], patch: number, theme: "light" | "dark"): number[] {
  const { frame } = decode(result(5), [5, ROWS, COLUMNS]);
  if (!frame) throw new Error("no example");
  const heat = heatOf(frame, tokens);
  const x = (heat[patch] ?? 0) / largest(heat);
  return [...colormap("blue–orange", theme).at(x), Math.round(255 * opacity(x))];
}

/** A canvas stores premultiplied bytes, so faint colours come back a little off. */
function expectColor(actual: number[], wanted: number[]): void {
  const [alpha = 0] = wanted.slice(-1);
  const tolerance = alpha === 0 ? 255 : 2 + 255 / alpha;
  actual.slice(0, 3).forEach((value, i) => {
    expect(Math.abs(value - (wanted[i] ?? 0))).toBeLessThanOrEqual(tolerance);
  });
  expect(Math.abs((actual[3] ?? 0) - alpha)).toBeLessThanOrEqual(1);
}

describe("the heat map", () => {
  it("has the colour of each patch's value", async () => {
    document.body.dataset.jpThemeLight = "true";
    const { view } = await open();
    for (const patch of range(PATCHES)) {
      expectColor(view.pixel(patch), expected(WORDS, patch, "light"));
    }
  });

  it("shows the selected words' values", async () => {
    document.body.dataset.jpThemeLight = "true";
    const { model, view } = await open();
    const before = view.pixels();
    model.set("tokens", [2]);
    await painted();
    expect(view.pixels()).not.toBe(before);
    for (const patch of range(PATCHES)) {
      expectColor(view.pixel(patch), expected([2], patch, "light"));
    }
  });

  it("leaves a weak word faint", async () => {
    // "a" is a hundredth of "red" everywhere.
    const strong = range(PATCHES).map(() => 0.5);
    const weak = range(PATCHES).map(() => 0.005);
    const none = range(PATCHES).map(() => 0);
    const values = [...none, ...weak, ...strong, ...none, ...none];
    const { view } = await open({ _result: payload(values, range(5)), tokens: [1] });
    expect(Number(view.canvas.dataset.scale)).toBeCloseTo(0.125, 6);
    expect(view.pixel(0)[3]).toBeLessThan(20);
  });

  it("is repainted when the host's theme changes", async () => {
    document.body.dataset.jpThemeLight = "true";
    const { view } = await open();
    const before = view.pixels();
    document.body.dataset.jpThemeLight = "false";
    await painted();
    expect(view.pixels()).not.toBe(before);
    expect(view.root.dataset.exclipTheme).toBe("dark");
    for (const patch of range(PATCHES)) {
      expectColor(view.pixel(patch), expected(WORDS, patch, "dark"));
    }
  });

  it("has one pixel per device pixel, at any width", async () => {
    const { view } = await open();
    for (const width of [360, 901]) {
      view.el.style.width = `${width}px`;
      await painted();
      const { width: shown, height } = view.canvas.getBoundingClientRect();
      expect(Math.abs(view.canvas.width - shown * devicePixelRatio)).toBeLessThanOrEqual(1);
      expect(shown / height).toBeCloseTo(4 / 3, 1);
      expectColor(view.pixel(0), expected(WORDS, 0, "light"));
    }
  });

  it("stays on the crop, and veils what the model never saw", async () => {
    const { view } = await open({
      _grid: { rows: ROWS, columns: COLUMNS, left: 0.5, top: 0, width: 0.5, height: 1 },
    });
    expect(view.pixel(0).slice(0, 3)).toEqual([255, 255, 255]);
    const [x, y] = view.patch(4);
    await click([x, y]);
    expect(view.figure("selection")).toBeCloseTo(sum(WORDS, range(PATCHES)), 10);
    await click(view.patch(11));
    // The last column of the whole image is the last two columns of the crop.
    expect(view.figure("selection")).toBeCloseTo(sum(WORDS, [11]), 10);
  });
});

describe("selecting patches", () => {
  it("a click selects one, a second click clears", async () => {
    const { model, view } = await open();
    await click(view.patch(6));
    expect(model.get("region")).toEqual([6]);
    view.values().forEach((value, i) => {
      expect(value).toBeCloseTo(sum([i + 1], [6]), 10);
    });
    await click(view.patch(6));
    expect(model.get("region")).toEqual([]);
  });

  it("a drag selects every patch its box touches", async () => {
    const { model, view } = await open();
    await drag([view.patch(10), view.patch(9), view.patch(5)]);
    expect(model.get("region")).toEqual([5, 6, 9, 10]);
    expect(model.saved).toBe(1);
  });

  it("shows the words' values during the drag", async () => {
    const { model, view } = await open();
    const { commands } = await import("vitest/browser");
    await commands.drag([view.patch(0), view.patch(1)], [], false);
    expect(model.saved).toBe(0);
    view.values().forEach((value, i) => {
      expect(value).toBeCloseTo(sum([i + 1], [0, 1]), 10);
    });
    await userEvent.keyboard("{Escape}");
    await commands.drag([view.patch(11)]);
    expect(model.get("region")).toEqual([11]);
  });

  it("Shift adds and Alt subtracts", async () => {
    const { model, view } = await open();
    await drag([view.patch(0), view.patch(1)]);
    await click(view.patch(11), ["Shift"]);
    expect(model.get("region")).toEqual([0, 1, 11]);
    await drag([view.patch(0), view.patch(4)], ["Alt"]);
    expect(model.get("region")).toEqual([1, 11]);
  });

  it("hovering previews one patch and stores nothing", async () => {
    const { model, view } = await open();
    await userEvent.hover(view.canvas);
    const shown = view.values();
    const patch = range(PATCHES).find((p) => Math.abs((shown[0] ?? 0) - sum([1], [p])) < 1e-9);
    expect(patch).toBeDefined();
    expect(view.find("exclip-legend").textContent).toMatch(/[+−]0\.\d/);
    await userEvent.unhover(view.canvas);
    expect(view.values()[0]).toBeCloseTo(sum([1], range(PATCHES)), 10);
    expect(model.saved).toBe(0);
  });

  it("draws one outline around what is selected", async () => {
    const { model, view } = await open();
    const before = view.pixels();
    model.set("region", [0, 1, 4, 5]);
    await painted();
    expect(view.pixels()).not.toBe(before);
    // The inside of the region is not crossed by any line.
    const { width, height } = view.canvas;
    const context = view.canvas.getContext("2d");
    const inner = context?.getImageData(width / COLUMNS - 1, height / ROWS / 2, 1, 1).data;
    expectColor([...(inner ?? [])], expected(WORDS, 0, "light"));
  });

  it("works from the keyboard alone", async () => {
    const { model, view } = await open();
    await userEvent.tab();
    expect(document.activeElement).toBe(view.canvas);
    await userEvent.keyboard("{ArrowDown}{ArrowDown}{ArrowRight}{Enter}");
    expect(model.get("region")).toEqual([5]);
    await userEvent.keyboard("{ArrowRight}{Shift>}{Enter}{/Shift}");
    expect(model.get("region")).toEqual([5, 6]);
    await userEvent.keyboard("{Escape}");
    expect(model.get("region")).toEqual([]);
  });

  it("announces where the cursor is and what is selected", async () => {
    const { view } = await open();
    const live = view.el.querySelector("[aria-live]");
    view.canvas.focus();
    await userEvent.keyboard("{ArrowDown}{ArrowRight}");
    await expect.poll(() => live?.textContent).toMatch(/^Row 1, column 2, [+−]/);
    await userEvent.keyboard("{Enter}");
    await expect.poll(() => live?.textContent).toMatch(/^caption × 1 patch: [+−]/);
  });
});
