import { afterEach, describe, expect, it } from "vitest";
import { commands, userEvent } from "vitest/browser";
import type { Point } from "../testing/drag.command.ts";
import {
  COLUMNS,
  center,
  click,
  drag,
  open,
  PATCHES,
  painted,
  range,
  result,
  sum,
  type View,
} from "../testing/harness.ts";
import { payload, tokensOf, wholeImage } from "../testing/mock.ts";

const button = (view: View, name: string) => {
  const found = view.el.querySelector<HTMLButtonElement>(`button[aria-label="${name}"]`);
  if (!found) throw new Error(`no button ${name}`);
  return found;
};
const press = (view: View, name: string) => click(center(button(view, name)));
const pressed = (view: View, name: string) => button(view, name).getAttribute("aria-pressed");

/** A grid large enough for strokes; every entry is 0.001. */
const SIDE = 8;
async function large() {
  const opened = await open({
    _grid: wholeImage(SIDE, SIDE),
    _result: payload(new Float32Array(5 * SIDE * SIDE).fill(0.001), new Float32Array(5)),
  });
  const { left, top, width, height } = opened.view.canvas.getBoundingClientRect();
  const at = (column: number, row: number): Point => [
    left + (width * column) / SIDE,
    top + (height * row) / SIDE,
  ];
  return { ...opened, at };
}

describe("the brush", () => {
  it("paints the patches it passes over, and selects them when it is lifted", async () => {
    const { view, model, at } = await large();
    await press(view, "Brush");
    expect(pressed(view, "Brush")).toBe("true");
    expect(pressed(view, "Box")).toBe("false");
    await drag([at(0.5, 0.5), at(3.5, 0.5), at(3.5, 2.5)]);
    expect(model.get("region")).toEqual([0, 1, 2, 3, 11, 19]);
    expect(model.saved).toBe(1);
  });

  it("adds with Shift and subtracts with Alt", async () => {
    const { view, model, at } = await large();
    await press(view, "Brush");
    await drag([at(0.5, 0.5), at(2.5, 0.5)]);
    await drag([at(6.5, 7.5), at(7.5, 7.5)], ["Shift"]);
    expect(model.get("region")).toEqual([0, 1, 2, 62, 63]);
    await drag([at(1.5, 0.5), at(2.5, 0.5)], ["Alt"]);
    expect(model.get("region")).toEqual([0, 62, 63]);
  });

  it("grows and shrinks with ] and [", async () => {
    const { view, model, at } = await large();
    view.canvas.focus();
    await userEvent.keyboard("p]]");
    await click(at(3.5, 3.5));
    expect(model.get("region")).toEqual([18, 19, 20, 26, 27, 28, 34, 35, 36]);
    view.canvas.focus();
    // Doubled, because a single one would start the name of a key.
    await userEvent.keyboard("[[[[");
    await click(at(6.5, 6.5));
    expect(model.get("region")).toEqual([54]);
  });
});

describe("the lasso", () => {
  it("selects what it encloses", async () => {
    const { view, model, at } = await large();
    await press(view, "Lasso");
    await drag([at(0.8, 0.8), at(3.2, 0.8), at(3.2, 3.2), at(0.8, 3.2), at(0.8, 1)]);
    expect(model.get("region")).toEqual([9, 10, 17, 18]);
  });

  it("is shown while it is being drawn, and Esc abandons it", async () => {
    const { view, model, at } = await large();
    view.canvas.focus();
    await userEvent.keyboard("l");
    await commands.drag([at(7.9, 7.9)]);
    await userEvent.keyboard("{Escape}");
    await painted();
    const before = view.pixels();
    await commands.drag([at(1.2, 1.2), at(5, 1.2), at(5, 5)], [], false);
    await painted();
    expect(view.pixels()).not.toBe(before);
    expect(view.figure("selection")).toBeGreaterThan(0.003);
    await userEvent.keyboard("{Escape}");
    await commands.drag([at(6.5, 0.5)]);
    expect(model.get("region")).toEqual([6]);
  });

  it("that encloses nothing counts as a click", async () => {
    const { view, model, at } = await large();
    await press(view, "Lasso");
    await drag([at(2.4, 2.4), at(2.45, 2.45)]);
    expect(model.get("region")).toEqual([18]);
  });
});

describe("users without a keyboard", () => {
  it("add and subtract with buttons, on both sides", async () => {
    const { view, model } = await open();
    await press(view, "Add");
    await click(view.patch(0));
    await click(view.patch(5));
    await click(view.middle("a"));
    await click(view.middle("boat"));
    expect(model.get("region")).toEqual([0, 5]);
    expect(model.get("tokens")).toEqual([1, 3]);
    await press(view, "Subtract");
    expect(pressed(view, "Add")).toBe("false");
    await click(view.patch(5));
    await click(view.middle("a"));
    expect(model.get("region")).toEqual([0]);
    expect(model.get("tokens")).toEqual([3]);
    await press(view, "Subtract");
    await click(view.patch(7));
    expect(model.get("region")).toEqual([7]);
  });

  it("have buttons that also show Shift and Alt while they are held", async () => {
    const { view } = await open();
    await userEvent.keyboard("{Shift>}");
    expect(pressed(view, "Add")).toBe("true");
    await userEvent.keyboard("{/Shift}");
    expect(pressed(view, "Add")).toBe("false");
  });

  it("tap a patch and a word", async () => {
    const { view, model } = await open();
    await commands.touch([view.patch(6)]);
    await expect.poll(() => model.get("region")).toEqual([6]);
    await commands.touch([view.middle("red")]);
    await expect.poll(() => model.get("tokens")).toEqual([2]);
  });

  it("follow the first finger, whatever a second one does", async () => {
    const { view, model } = await open();
    await commands.twoFingers(view.patch(0), view.patch(11));
    await expect.poll(() => model.get("region")).toEqual([0]);
    await commands.twoFingers(view.middle("a"), view.middle("boat"));
    await expect.poll(() => model.get("tokens")).toEqual([1]);
  });

  it("draw with one finger if the tool needs strokes", async () => {
    const { view, model, at } = await large();
    await press(view, "Brush");
    await commands.touch([at(0.5, 0.5), at(0.5, 1.5), at(0.5, 2.5), at(0.5, 3.5)]);
    await expect.poll(() => model.get("region")).toEqual([0, 8, 16, 24]);
  });

  it("can still scroll and zoom the page", async () => {
    const { view } = await open();
    const allowed = () => getComputedStyle(view.canvas).touchAction;
    expect(allowed()).toBe("pan-y pinch-zoom");
    await press(view, "Lasso");
    expect(allowed()).toBe("pinch-zoom");
    await press(view, "Box");
    expect(allowed()).toBe("pan-y pinch-zoom");
  });
});

describe("all, none and the others", () => {
  it("can be selected with buttons", async () => {
    const { view, model } = await open({ region: [0, 1], tokens: [2] });
    await press(view, "Invert selected patches");
    expect(model.get("region")).toEqual(range(PATCHES).slice(2));
    await press(view, "Clear selected patches");
    expect(model.get("region")).toEqual([]);
    await press(view, "Invert selected words");
    expect(model.get("tokens")).toEqual([1, 3]);
    await press(view, "Clear selected words");
    expect(model.get("tokens")).toEqual([]);
  });

  it("can be selected with keys, on each side by itself", async () => {
    const { view, model } = await open({ region: [3], tokens: [1] });
    view.canvas.focus();
    await userEvent.keyboard("i");
    expect(model.get("region")).toEqual(range(PATCHES).filter((p) => p !== 3));
    await userEvent.keyboard("{Control>}a{/Control}");
    expect(model.get("region")).toEqual(range(PATCHES));
    expect(model.get("tokens")).toEqual([1]);
    view.word("a").focus();
    await userEvent.keyboard("i");
    expect(model.get("tokens")).toEqual([2, 3]);
    await userEvent.keyboard("{Control>}a{/Control}");
    expect(model.get("tokens")).toEqual([1, 2, 3]);
  });
});

describe("Shift and arrow keys", () => {
  it("extend a box of patches, and shrink it again", async () => {
    const { view, model } = await open({ region: [11] });
    view.canvas.focus();
    await userEvent.keyboard("{ArrowRight}{ArrowRight}");
    await userEvent.keyboard("{Shift>}{ArrowRight}{ArrowDown}{/Shift}");
    expect(model.get("region")).toEqual([1, 2, 5, 6, 11]);
    await userEvent.keyboard("{Shift>}{ArrowLeft}{/Shift}");
    expect(model.get("region")).toEqual([1, 5, 11]);
    await userEvent.keyboard("{ArrowDown}{Shift>}{ArrowRight}{/Shift}");
    expect(model.get("region")).toEqual([1, 5, 9, 10, 11]);
  });

  it("extend a phrase, and shrink it again", async () => {
    const { view, model } = await open({ caption: "a red boat at sea" });
    view.word("red").focus();
    await userEvent.keyboard("{Shift>}{ArrowRight}{ArrowRight}{/Shift}");
    expect(model.get("tokens")).toEqual([2, 3, 4]);
    await userEvent.keyboard("{Shift>}{ArrowLeft}{/Shift}");
    expect(model.get("tokens")).toEqual([2, 3]);
  });
});

describe("pieces", () => {
  const special = { word: -1, special: true, start: null, end: null };
  const _tokens = [
    { text: "<sot>", ...special },
    { text: "sail", word: 0, special: false, start: 0, end: 4 },
    { text: "boat", word: 0, special: false, start: 4, end: 8 },
    { text: "🐟", word: 1, special: false, start: 9, end: 10 },
    { text: "\ufffd", word: 1, special: false, start: 9, end: 10 },
    { text: "<eot>", ...special },
  ];
  const pieces = () => open({ caption: "Sailboat 🐟", _tokens });

  it("are shown on demand, with special tokens, each with its own value", async () => {
    const { view } = await pieces();
    expect(view.words.map((node) => node.textContent)).toEqual(["Sailboat", "🐟"]);
    await press(view, "Pieces");
    expect(view.words.map((node) => node.textContent)).toEqual([
      "<sot>",
      "Sail",
      "boat",
      "🐟",
      "·",
      "<eot>",
    ]);
    view.values().forEach((value, token) => {
      expect(value).toBeCloseTo(sum([token], range(PATCHES)), 10);
    });
  });

  it("are selected one by one, and the word shows it", async () => {
    const { view, model } = await pieces();
    await press(view, "Pieces");
    await click(view.middle("boat"));
    expect(model.get("tokens")).toEqual([2]);
    await click(view.middle("<eot>"), ["Shift"]);
    expect(model.get("tokens")).toEqual([2, 5]);
    expect(view.figure("selection")).toBeCloseTo(sum([2, 5], range(PATCHES)), 10);
    await press(view, "Pieces");
    expect(view.word("Sailboat").getAttribute("aria-pressed")).toBe("mixed");
    // What the value is of.
    const selection = view.el.querySelector("[data-figure=selection]");
    expect(selection?.firstElementChild?.textContent).toBe("boat <eot> × image");
  });

  it("do not change the scale or the marginals", async () => {
    const { view } = await pieces();
    const before = [view.canvas.dataset.scale, view.figure("selection")];
    await press(view, "Pieces");
    expect([view.canvas.dataset.scale, view.figure("selection")]).toEqual(before);
  });
});

describe("drags over words", () => {
  it("reach the end of a line from a point beside it", async () => {
    const { view, model } = await open();
    const [x, y] = view.middle("boat");
    await drag([view.middle("red"), [x + 150, y]]);
    expect(model.get("tokens")).toEqual([2, 3]);
  });

  it("follow reading order from right to left", async () => {
    const { view, model } = await open({ caption: "قارب أحمر صغير" });
    const [, second, third] = view.words.map((node) => center(node));
    await drag([second, third] as Point[]);
    expect(model.get("tokens")).toEqual([2, 3]);
  });

  it("are previewed like the selection they would make", async () => {
    const { view } = await open();
    await commands.drag([view.middle("a"), view.middle("red")], [], false);
    expect(view.pressed).toEqual(["a", "red"]);
    await userEvent.keyboard("{Escape}");
    expect(view.pressed).toEqual([]);
    await commands.drag([view.patch(COLUMNS)]);
  });
});

describe("the tools", () => {
  it("are a single Tab stop, and arrow keys move among them", async () => {
    const { view } = await open();
    const bar = view.find("exclip-tools");
    const stops = [...bar.querySelectorAll<HTMLElement>('[role="toolbar"] button')];
    expect(stops.filter(({ tabIndex }) => tabIndex === 0)).toHaveLength(1);
    button(view, "Box").focus();
    await userEvent.keyboard("{ArrowRight}");
    expect(document.activeElement).toBe(button(view, "Brush"));
    await userEvent.keyboard("{Enter}");
    expect(pressed(view, "Brush")).toBe("true");
    await userEvent.keyboard("{ArrowLeft}{ArrowLeft}");
    expect(document.activeElement).toBe(button(view, "Appearance"));
  });

  it("respond to keys only while the image has the focus", async () => {
    const { view } = await open({ tokens: [2] });
    view.canvas.focus();
    for (const [key, name] of [
      ["l", "Lasso"],
      ["p", "Brush"],
      ["b", "Box"],
    ] as const) {
      await userEvent.keyboard(key);
      expect(pressed(view, name)).toBe("true");
    }
    view.word("red").focus();
    await userEvent.keyboard("l");
    expect(pressed(view, "Box")).toBe("true");
  });

  it("are separate for each view", async () => {
    const { view, widget, model } = await open();
    const other = await new (await import("../testing/harness.ts")).View(widget, model).settled();
    await press(view, "Lasso");
    expect(pressed(other, "Box")).toBe("true");
  });
});

describe("a drag whose end never comes", () => {
  /** Send a pointer's event to whatever lies at `point`, without capturing the pointer. */
  const send = (type: string, [clientX, clientY]: Point, more: PointerEventInit = {}) =>
    document.elementFromPoint(clientX, clientY)?.dispatchEvent(
      new PointerEvent(type, {
        ...{ clientX, clientY, pointerId: 1, isPrimary: true, bubbles: true, ...more },
      }),
    );
  const places = {
    words: (view: View) => [view.middle("a"), view.middle("boat")] as const,
    image: (view: View) => [view.patch(0), view.patch(6)] as const,
  };
  const selection = (view: View) =>
    view.find("exclip-readout").querySelector("[data-figure=selection]")?.textContent;

  /** Open the widget; pointers that a test makes up cannot be captured. */
  async function opened() {
    const { view, model } = await open();
    Element.prototype.setPointerCapture = () => {};
    return { view, model };
  }
  const { setPointerCapture } = Element.prototype;
  afterEach(() => {
    Element.prototype.setPointerCapture = setPointerCapture;
  });

  it.each(["words", "image"] as const)("over the %s ends without the button", async (place) => {
    const { view, model } = await opened();
    const [from, to] = places[place](view);
    send("pointerdown", from, { buttons: 1 });
    send("pointermove", to, { buttons: 0 });
    await painted();
    // Only previewed: nothing is outlined, and a release selects nothing.
    expect(view.pressed).toEqual([]);
    expect(selection(view)).toContain("caption × image");
    send("pointerup", to);
    expect([model.get("tokens"), model.get("region")]).toEqual([[], []]);
  });

  it.each(["words", "image"] as const)("over the %s ends with its capture", async (place) => {
    const { view, model } = await opened();
    const [from, to] = places[place](view);
    send("pointerdown", from, { buttons: 1 });
    send("lostpointercapture", from);
    send("pointermove", to, { buttons: 1 });
    send("pointerup", to);
    expect([model.get("tokens"), model.get("region")]).toEqual([[], []]);
  });

  it.each(["words", "image"] as const)("is not begun over the %s by Ctrl-click", async (place) => {
    const { view, model } = await opened();
    const [from, to] = places[place](view);
    // On macOS, it opens a menu; the next event is that of another press.
    send("pointerdown", from, { buttons: 1, ctrlKey: true });
    send("pointermove", to, { buttons: 1 });
    send("pointerup", to);
    expect([model.get("tokens"), model.get("region")]).toEqual([[], []]);
  });

  it("ends with the caption", async () => {
    const { view, model } = await opened();
    const [from, to] = places.words(view);
    send("pointerdown", from, { buttons: 1 });
    send("pointermove", to, { buttons: 1 });
    expect(view.pressed).toEqual(["a", "red", "boat"]);
    model.begin(1, { caption: "two old dogs", _tokens: tokensOf("two old dogs") });
    model.finish(1, { _result: result(5) });
    await painted();
    send("pointermove", view.middle("dogs"), { buttons: 1 });
    expect(view.pressed).toEqual([]);
    send("pointerup", view.middle("dogs"));
    expect(model.get("tokens")).toEqual([]);
  });

  it("leaves no lasso on the image", async () => {
    const { view } = await opened();
    view.canvas.focus();
    await userEvent.keyboard("l");
    const [[x, y], to] = places.image(view);
    send("pointermove", [x, y]);
    send("pointerleave", [x, y]);
    await painted();
    const before = view.pixels();
    send("pointerdown", [x, y], { buttons: 1 });
    send("pointermove", [x + 12, y], { buttons: 1 });
    send("pointermove", to, { buttons: 1 });
    await painted();
    expect(view.pixels()).not.toBe(before);
    send("lostpointercapture", to);
    await painted();
    expect(view.pixels()).toBe(before);
  });
});

it("special tokens of every kind appear in the caption as the model reads it", async () => {
  const _tokens = [
    ...tokensOf("a"),
    { text: "<pad>", word: -1, special: true, start: null, end: null },
  ];
  const { view, model } = await open({ caption: "a", _tokens });
  await press(view, "Pieces");
  await click(view.middle("<pad>"));
  expect(model.get("tokens")).toEqual([3]);
});
