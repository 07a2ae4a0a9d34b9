import { describe, expect, it, vi } from "vitest";
import exclip from "../main.ts";
import {
  COLUMNS,
  click,
  open,
  PATCHES,
  ROWS,
  range,
  result,
  sum,
  traits,
  View,
} from "../testing/harness.ts";
import { MockModel, tokensOf } from "../testing/mock.ts";

const SHAPE = [5, ROWS, COLUMNS];
const BYTES = 4 * (5 * PATCHES + 5);
const EMPTY = new DataView(new ArrayBuffer(0));
const WORDS = [1, 2, 3];

const begin = (id: number) => ({ kind: "begin", id, shape: SHAPE, frames: 1 });
const chunk = (id: number, frame = 0, offset = 0) => ({
  kind: "chunk",
  id,
  frame,
  offset,
  bytes: BYTES,
});
const done = (id: number) => ({ kind: "done", id, similarity: 0.3, residual: 0.01, total: 0.29 });

/** A widget whose kernel has only just begun. */
const fresh = () =>
  open({ _result: EMPTY, _summary: null, _status: { phase: "idle", message: "" } });

describe("both selections", () => {
  it("make one number: their interaction", async () => {
    const { view } = await open();
    await click(view.middle("boat"));
    await click(view.patch(5));
    await click(view.patch(6), ["Shift"]);
    expect(view.figure("selection")).toBeCloseTo(sum([3], [5, 6]), 10);
    expect(view.find("exclip-readout").textContent).toContain("boat × 2 patches");
    expect(view.figure("similarity")).toBe(0.412);
  });

  it("leave the special tokens out of the marginals", async () => {
    const { view } = await open();
    expect(view.figure("selection")).toBeCloseTo(sum(WORDS, range(PATCHES)), 10);
  });
});

describe("a computation", () => {
  it("asks for what it may have missed", async () => {
    const { model } = await open();
    expect(model.sent).toEqual([{ kind: "hello" }]);
  });

  it("moves, shows each finished step, and ends", async () => {
    const { model, view } = await fresh();
    expect(view.values()).toEqual([Number.NaN, Number.NaN, Number.NaN]);
    model.receive(begin(1));
    expect(view.root.dataset.phase).toBe("computing");
    expect(view.find("exclip-progress").hidden).toBe(false);
    model.receive({ kind: "progress", id: 1, done: 1, total: 4 });
    expect(view.find("exclip-progress").getAttribute("aria-valuenow")).toBe("25");
    const data = result(5);
    const half = new DataView(data.buffer, data.byteOffset, 100);
    const rest = new DataView(data.buffer, data.byteOffset + 100, BYTES - 100);
    model.receive(chunk(1, 0, 0), half);
    expect(view.values()[0]).toBeNaN();
    model.receive(chunk(1, 0, 100), rest);
    expect(view.values()[0]).toBeCloseTo(sum([1], range(PATCHES)), 10);
    model.receive(done(1));
    expect(view.root.dataset.phase).toBe("done");
    expect(view.find("exclip-progress").hidden).toBe(true);
    expect(view.figure("similarity")).toBe(0.3);
  });

  it("is cancelled by its number", async () => {
    const { model, view } = await fresh();
    model.receive(begin(7));
    await click(center(view.find("exclip-cancel")));
    expect(model.sent.at(-1)).toEqual({ kind: "cancel", id: 7 });
    model.receive({ kind: "cancelled", id: 7 });
    expect(view.root.dataset.phase).toBe("cancelled");
    expect(view.find("exclip-notice").textContent).toContain("Cancelled");
  });

  it("gives way to a newer one", async () => {
    const { model, view } = await fresh();
    model.receive(begin(2));
    model.receive(begin(3));
    model.receive(chunk(2), result(5));
    model.receive(done(2));
    expect(view.root.dataset.phase).toBe("computing");
    expect(view.values()[0]).toBeNaN();
    model.receive(chunk(3), result(5));
    expect(view.values()[0]).not.toBeNaN();
  });

  it("is joined in the middle, where its start was missed", async () => {
    const { model, view } = await fresh();
    model.receive(chunk(4, 2, 100), new DataView(new ArrayBuffer(BYTES - 100)));
    expect(view.root.dataset.phase).toBe("computing");
    model.receive(chunk(4, 3), result(5));
    expect(view.values()[0]).toBeCloseTo(sum([1], range(PATCHES)), 10);
    expect(view.find("exclip-notice").hidden).toBe(true);
  });

  it("says in words what went wrong, and keeps the last good result", async () => {
    const { model, view } = await open();
    const before = view.values();
    model.receive(begin(1));
    model.receive({ kind: "error", id: 1, message: "<b>The model</b> ran out of memory." });
    expect(view.root.dataset.phase).toBe("error");
    expect(view.find("exclip-error").textContent).toBe("<b>The model</b> ran out of memory.");
    expect(view.values()).toEqual(before);
  });

  it("reports a step that was dropped, without throwing", async () => {
    const { model, view } = await fresh();
    model.receive(begin(1));
    model.receive(chunk(1, 0, 64), result(5));
    expect(view.find("exclip-notice").textContent).toMatch(/Step 1 .* dropped/);
    model.receive(chunk(1, 1), result(5));
    expect(view.find("exclip-notice").hidden).toBe(true);
  });

  it("reports a result of another shape", async () => {
    const { model, view } = await fresh();
    model.receive({ ...begin(1), shape: [9, ROWS, COLUMNS] });
    expect(view.find("exclip-notice").textContent).toContain("9 × 3 × 4");
  });

  it("never shows one caption's numbers on another", async () => {
    const { model, view } = await open();
    model.set("_tokens", tokensOf("a blue boat"));
    model.set("caption", "a blue boat");
    expect(view.words.map((node) => node.textContent)).toEqual(["a", "blue", "boat"]);
    expect(view.values()[0]).toBeNaN();
    model.set("_result", result(5));
    expect(view.values()[0]).not.toBeNaN();
  });

  it("that no kernel goes on with says so", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const model = new MockModel(await traits({ _status: { phase: "computing", message: "" } }));
    const widget = exclip();
    widget.initialize({ model });
    const view = new View(widget, model);
    expect(view.root.dataset.phase).toBe("computing");
    vi.advanceTimersByTime(20_000);
    vi.useRealTimers();
    expect(view.root.dataset.phase).toBe("idle");
    expect(view.find("exclip-notice").textContent).toContain("run the cell again");
  });
});

describe("views and widgets", () => {
  it("a late view needs no kernel", async () => {
    const model = new MockModel(await traits({ tokens: [2] }));
    const widget = exclip();
    // A host that never initializes, as some static pages.
    const view = await new View(widget, model).settled();
    expect(view.values()[0]).toBeCloseTo(sum([1], range(PATCHES)), 10);
    expect(view.pressed).toEqual(["red"]);
    await click(view.patch(0));
    expect(view.figure("selection")).toBeCloseTo(sum([2], [0]), 10);
  });

  it("two views of one widget share what is selected, and preview alone", async () => {
    const { model, widget, view } = await open();
    const other = await new View(widget, model).settled();
    await click(view.middle("red"));
    expect(other.pressed).toEqual(["red"]);
    expect(model.saved).toBe(1);
    await click(other.middle("boat"));
    expect(view.pressed).toEqual(["boat"]);
  });

  it("two widgets never mix", async () => {
    const one = await open();
    const two = await open();
    await click(one.view.middle("red"));
    one.model.receive(begin(5));
    expect(two.view.pressed).toEqual([]);
    expect(two.view.root.dataset.phase).toBe("done");
  });

  it("a closed view is gone, and the others stay", async () => {
    const { model, widget, view } = await open();
    const other = new View(widget, model);
    view.close();
    expect(view.el.childElementCount).toBe(0);
    model.set("tokens", [3]);
    expect(other.pressed).toEqual(["boat"]);
  });

  it("the host's signals end everything", async () => {
    const model = new MockModel(await traits());
    const [widgetLife, viewLife] = [new AbortController(), new AbortController()];
    const widget = exclip();
    widget.initialize({ model, signal: widgetLife.signal });
    const view = new View(widget, model, viewLife.signal);
    expect(model.listening).toBeGreaterThan(0);
    viewLife.abort();
    expect(view.el.childElementCount).toBe(0);
    widgetLife.abort();
    expect(model.listening).toBe(0);
  });

  it("so does the cleanup, on hosts without signals, and twice does no harm", async () => {
    const { model, stop, view } = await open();
    view.close();
    view.close();
    stop();
    stop();
    expect(model.listening).toBe(0);
    expect(view.el.childElementCount).toBe(0);
  });

  it("lives in a shadow root", async () => {
    const host = document.createElement("div");
    document.body.append(host);
    const shadow = host.attachShadow({ mode: "open" });
    const { view, model } = await open();
    shadow.append(view.el);
    await view.settled();
    await click(view.middle("red"));
    expect(model.get("tokens")).toEqual([2]);
  });

  it("shows a broken picture in words", async () => {
    const { view } = await open({ _picture: new DataView(new ArrayBuffer(40)) });
    const words = view.el.querySelector<HTMLElement>(".exclip-broken");
    await expect.poll(() => words?.hidden).toBe(false);
    expect(words?.textContent).toContain("could not be read");
  });
});

function center(node: Element): [number, number] {
  const { left, top, width, height } = node.getBoundingClientRect();
  return [left + width / 2, top + height / 2];
}
