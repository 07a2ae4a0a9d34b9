import { describe, expect, it } from "vitest";
import { userEvent } from "vitest/browser";
import { click, drag, open, PATCHES, range, sum } from "../testing/harness.ts";
import { tokensOf } from "../testing/mock.ts";

const ALL = range(PATCHES);

describe("the caption", () => {
  it("shows words as buttons with their tokens and values", async () => {
    const { view } = await open();
    expect(view.words.map((node) => node.textContent)).toEqual(["a", "red", "boat"]);
    expect(view.words.map((node) => node.dataset.tokens)).toEqual(["1", "2", "3"]);
    view.values().forEach((value, i) => {
      expect(value).toBeCloseTo(sum([i + 1], ALL), 10);
    });
  });

  it("sums the pieces of a word", async () => {
    const [sot, ...rest] = tokensOf("sail");
    const eot = rest.at(-1);
    const piece = { word: 0, special: false };
    const tokens = [
      sot,
      { text: "sa", start: 0, end: 2, ...piece },
      { text: "il", start: 2, end: 4, ...piece },
      eot,
    ].filter((token) => token !== undefined);
    const { view } = await open({ caption: "Sail", _tokens: tokens });
    expect(view.words.map((node) => node.dataset.tokens)).toEqual(["1,2"]);
    expect(view.values()[0]).toBeCloseTo(sum([1, 2], ALL), 10);
  });
});

describe("selecting words", () => {
  it("a click selects one, a second click clears", async () => {
    const { model, view } = await open();
    await click(view.middle("red"));
    expect(view.pressed).toEqual(["red"]);
    expect(model.get("tokens")).toEqual([2]);
    expect(model.saved).toBe(1);
    await click(view.middle("boat"));
    expect(view.pressed).toEqual(["boat"]);
    await click(view.middle("boat"));
    expect(view.pressed).toEqual([]);
    expect(model.get("tokens")).toEqual([]);
  });

  it("a drag selects the words in between, from either end", async () => {
    const { model, view } = await open();
    await drag([view.middle("boat"), view.middle("red"), view.middle("a")]);
    expect(model.get("tokens")).toEqual([1, 2, 3]);
    expect(model.saved).toBe(1);
  });

  it("Shift adds and Alt subtracts", async () => {
    const { model, view } = await open();
    await click(view.middle("a"));
    await click(view.middle("boat"), ["Shift"]);
    expect(model.get("tokens")).toEqual([1, 3]);
    await click(view.middle("a"), ["Alt"]);
    expect(model.get("tokens")).toEqual([3]);
  });

  it("hovering previews and stores nothing", async () => {
    const { model, view } = await open();
    const before = view.canvas.dataset.scale;
    await userEvent.hover(view.word("red"));
    expect(view.canvas.dataset.scale).not.toBe(before);
    expect(view.find("exclip-legend-words").textContent).toContain("0.0");
    await userEvent.unhover(view.word("red"));
    expect(view.canvas.dataset.scale).toBe(before);
    expect(model.saved).toBe(0);
  });

  it("Esc clears", async () => {
    const { model, view } = await open({ tokens: [2], region: [1] });
    view.word("red").focus();
    await userEvent.keyboard("{Escape}");
    expect(model.get("tokens")).toEqual([]);
    expect(model.get("region")).toEqual([]);
  });

  it("works from the keyboard alone: arrows, Enter, Shift and Alt", async () => {
    const { model, view } = await open();
    view.word("a").focus();
    await userEvent.keyboard("{ArrowRight}{Enter}");
    expect(model.get("tokens")).toEqual([2]);
    await userEvent.keyboard("{End}{Shift>}{Enter}{/Shift}");
    expect(model.get("tokens")).toEqual([2, 3]);
    await userEvent.keyboard("{ArrowLeft}{Alt>}{Enter}{/Alt}");
    expect(model.get("tokens")).toEqual([3]);
    expect(view.words.filter((node) => node.tabIndex === 0)).toHaveLength(1);
  });

  it("follows Python, and ignores tokens that do not exist", async () => {
    const { model, view } = await open();
    model.set("tokens", [1, 2, 99]);
    expect(view.pressed).toEqual(["a", "red"]);
    expect(view.figure("selection")).toBeCloseTo(sum([1, 2], ALL), 10);
  });
});

describe("captions of every kind", () => {
  it("stay text, even with markup in them", async () => {
    const caption = '<img src=x onerror="boom()"> <b>boat</b>';
    const { view } = await open({ caption });
    expect(view.find("exclip").querySelector("b")).toBeNull();
    expect(view.words.map((node) => node.textContent).join(" ")).toBe(caption);
  });

  it("may contain emoji and combining marks", async () => {
    const { view } = await open({ caption: "🐟🐠 cafe\u0301 👨‍👩‍👧" });
    expect(view.words.map((node) => node.textContent)).toEqual(["🐟🐠", "cafe\u0301", "👨‍👩‍👧"]);
  });

  it("may run from right to left", async () => {
    const { model, view } = await open({ caption: "قارب أحمر صغير" });
    const [first, second] = view.words;
    expect(first?.getBoundingClientRect().left).toBeGreaterThan(
      second?.getBoundingClientRect().left ?? 0,
    );
    first?.focus();
    await userEvent.keyboard("{ArrowLeft}{Enter}");
    expect(model.get("tokens")).toEqual([2]);
  });

  it("may be far longer than the model reads", async () => {
    const caption = "boat ".repeat(2000);
    const _tokens = tokensOf(caption).slice(0, 77);
    const { view } = await open({ caption, _tokens });
    expect(view.words).toHaveLength(76);
    expect(view.root.getBoundingClientRect().height).toBeLessThan(1000);
  });
});
