import { describe, expect, it, vi } from "vitest";
import exclip from "../main.ts";
import {
  click,
  estimate,
  NOTHING,
  open,
  PATCHES,
  range,
  result,
  sum,
  traits,
  View,
} from "../testing/harness.ts";
import { MockModel, payload, tokensOf } from "../testing/mock.ts";

const BYTES = 4 * (5 * PATCHES + 5);
const WORDS = [1, 2, 3];

/** End a request. */
const done = () => ({
  _result: result(5),
  _summary: { similarity: 0.3, residual: 0.01, total: 0.29, error: null },
});

/** A widget whose kernel has computed nothing yet. */
const fresh = () => open(NOTHING);

describe("both selections", () => {
  it("give one number: their interaction", async () => {
    const { view } = await open();
    await click(view.middle("boat"));
    await click(view.patch(5));
    await click(view.patch(6), ["Shift"]);
    expect(view.figure("selection")).toBeCloseTo(sum([3], [5, 6]), 10);
    expect(view.find("exclip-readout").textContent).toContain("boat × 2 patches");
    expect(view.figure("similarity")).toBe(0.412);
  });

  it("leave special tokens out of the marginals", async () => {
    const { view } = await open();
    expect(view.figure("selection")).toBeCloseTo(sum(WORDS, range(PATCHES)), 10);
  });
});

describe("a computation", () => {
  it("asks for what it may have missed", async () => {
    const { model } = await open();
    expect(model.sent).toEqual([{ kind: "join" }]);
  });

  it("progresses, shows each finished step, and ends", async () => {
    const { model, view } = await fresh();
    expect(view.values()).toEqual([Number.NaN, Number.NaN, Number.NaN]);
    model.begin(1);
    expect(view.root.dataset.phase).toBe("computing");
    expect(view.find("exclip-progress").hidden).toBe(false);
    model.receive({ kind: "progress", id: 1, done: 1, total: 4 });
    expect(view.find("exclip-progress").getAttribute("aria-valuenow")).toBe("25");
    const data = result(5);
    const half = new DataView(data.buffer, data.byteOffset, 100);
    const rest = new DataView(data.buffer, data.byteOffset + 100, BYTES - 100);
    model.receive(...estimate(1, half, 0, { bytes: BYTES }));
    expect(view.values()[0]).toBeNaN();
    model.receive(...estimate(1, rest, 0, { offset: 100, bytes: BYTES }));
    expect(view.values()[0]).toBeCloseTo(sum([1], range(PATCHES)), 10);
    model.finish(1, done());
    expect(view.root.dataset.phase).toBe("done");
    expect(view.find("exclip-progress").hidden).toBe(true);
    expect(view.figure("similarity")).toBe(0.3);
  });

  it("is cancelled by its number", async () => {
    const { model, view } = await fresh();
    model.begin(7);
    await click(center(view.find("exclip-cancel")));
    expect(model.sent.at(-1)).toEqual({ kind: "cancel", id: 7 });
    model.request(7, "cancelled");
    expect(view.root.dataset.phase).toBe("cancelled");
    expect(view.find("exclip-notice").textContent).toContain("Cancelled");
  });

  it("gives way to a newer one", async () => {
    const { model, view } = await fresh();
    model.begin(2);
    model.begin(3);
    model.receive(...estimate(2, result(5)));
    model.receive({ kind: "progress", id: 2, done: 4, total: 4 });
    expect(view.root.dataset.phase).toBe("computing");
    expect(view.values()[0]).toBeNaN();
    model.receive(...estimate(3, result(5)));
    expect(view.values()[0]).not.toBeNaN();
  });

  it("is joined in the middle of a frame, and shows the next", async () => {
    const { model, view } = await fresh();
    model.begin(4);
    const rest = new DataView(new ArrayBuffer(BYTES - 100));
    model.receive(...estimate(4, rest, 2, { offset: 100, bytes: BYTES }));
    expect(view.root.dataset.phase).toBe("computing");
    model.receive(...estimate(4, result(5), 3));
    expect(view.values()[0]).toBeCloseTo(sum([1], range(PATCHES)), 10);
    expect(view.find("exclip-notice").hidden).toBe(true);
  });

  it("may be preceded by its own estimates, which wait for it", async () => {
    const { model, view } = await fresh();
    model.begin(1);
    model.receive({ kind: "progress", id: 3, done: 3, total: 4 });
    model.receive(...estimate(3, payload(new Float32Array(5 * PATCHES).fill(9), range(5))));
    model.receive({ kind: "progress", id: 4, done: 1, total: 4 });
    model.receive(...estimate(4, result(5)));
    // Older than what is waiting: only the newest request's estimates are kept.
    model.receive(...estimate(2, payload(new Float32Array(5 * PATCHES).fill(7), range(5))));
    expect(view.values()[0]).toBeNaN();
    expect(view.find("exclip-progress").getAttribute("aria-valuenow")).toBeNull();
    model.begin(4);
    expect(view.values()[0]).toBeCloseTo(sum([1], range(PATCHES)), 10);
    expect(view.find("exclip-progress").getAttribute("aria-valuenow")).toBe("25");
  });

  it("that was overtaken by another is never shown", async () => {
    const { model, view } = await fresh();
    model.receive(...estimate(4, result(5)));
    model.begin(5);
    expect(view.values()[0]).toBeNaN();
    model.finish(5, done());
    // Sent again for a view that joined late: older than the result.
    model.receive(...estimate(5, payload(new Float32Array(5 * PATCHES), range(5)), 9));
    expect(view.values()[0]).toBeCloseTo(sum([1], range(PATCHES)), 10);
  });

  it("reports what went wrong, and keeps the last good result", async () => {
    const { model, view } = await open();
    const before = view.values();
    const last = { _result: model.get("_result"), _summary: model.get("_summary") } as object;
    model.begin(1);
    expect(view.values()).toEqual(before);
    expect(view.root.classList).toContain("exclip-stale");
    model.request(1, "error", "<b>The model</b> ran out of memory.", last);
    expect(view.root.dataset.phase).toBe("error");
    expect(view.find("exclip-error").textContent).toBe("<b>The model</b> ran out of memory.");
    expect(view.values()).toEqual(before);
    expect(view.root.classList).not.toContain("exclip-stale");
  });

  it("reports an estimate that was dropped, without throwing", async () => {
    const { model, view } = await fresh();
    model.begin(1);
    model.receive(...estimate(1, result(5), 0, { offset: 64 }));
    expect(view.find("exclip-notice").textContent).toMatch(/Estimate 1 of the caption was dropped/);
    model.receive(...estimate(1, result(5), 1));
    expect(view.find("exclip-notice").hidden).toBe(true);
  });

  it("reports an estimate or a result of another shape", async () => {
    const { model, view } = await fresh();
    model.begin(1);
    model.receive(...estimate(1, result(9)));
    expect(view.find("exclip-notice").textContent).toContain("5 × 3 × 4");
    model.finish(1, { _result: result(9) });
    expect(view.find("exclip-notice").textContent).toContain("5 × 3 × 4");
    expect(view.values()[0]).toBeNaN();
  });

  it("may end before the host has announced its inputs", async () => {
    const { model, view } = await open();
    model.set("caption", "a small red boat");
    model.set("_result", result(6));
    expect(view.values()[0]).toBeNaN();
    model.set("_tokens", tokensOf("a small red boat"));
    expect(view.values()[0]).toBeCloseTo(sum([1], range(PATCHES)), 10);
    expect(view.find("exclip-notice").hidden).toBe(true);
  });

  it("never shows one caption's numbers on another caption", async () => {
    const { model, view } = await open();
    model.set("_tokens", tokensOf("a blue boat"));
    model.set("caption", "a blue boat");
    expect(view.words.map((node) => node.textContent)).toEqual(["a", "blue", "boat"]);
    expect(view.values()[0]).toBeNaN();
    model.set("_result", result(5));
    expect(view.values()[0]).not.toBeNaN();
  });

  it("that no kernel continues says so", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const model = new MockModel(
      await traits({ _request: { id: 1, phase: "computing", message: "" } }),
    );
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
    // A host that never initializes, like some static pages.
    const view = await new View(widget, model).settled();
    expect(view.values()[0]).toBeCloseTo(sum([1], range(PATCHES)), 10);
    expect(view.pressed).toEqual(["red"]);
    await click(view.patch(0));
    expect(view.figure("selection")).toBeCloseTo(sum([2], [0]), 10);
  });

  it("two views of one widget share the selection, but not the preview", async () => {
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
    one.model.begin(5);
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

  it("the cleanup does the same on hosts without signals, and is harmless twice", async () => {
    const { model, stop, view } = await open();
    view.close();
    view.close();
    stop();
    stop();
    expect(model.listening).toBe(0);
    expect(view.el.childElementCount).toBe(0);
  });

  it("works in a shadow root", async () => {
    const host = document.createElement("div");
    document.body.append(host);
    const shadow = host.attachShadow({ mode: "open" });
    const { view, model } = await open();
    shadow.append(view.el);
    await view.settled();
    await click(view.middle("red"));
    expect(model.get("tokens")).toEqual([2]);
  });

  it("shows a message for a broken image", async () => {
    const { view } = await open({ _image: new DataView(new ArrayBuffer(40)) });
    const words = view.el.querySelector<HTMLElement>(".exclip-broken");
    await expect.poll(() => words?.hidden).toBe(false);
    expect(words?.textContent).toContain("could not be read");
  });
});

function center(node: Element): [number, number] {
  const { left, top, width, height } = node.getBoundingClientRect();
  return [left + width / 2, top + height / 2];
}
