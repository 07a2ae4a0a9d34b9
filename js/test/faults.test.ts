/** What can go wrong on the way from the kernel, and what the user reads about it. */
import { describe, expect, it, vi } from "vitest";
import { userEvent } from "vitest/browser";
import type { Interactions } from "../algebra/interactions.ts";
import exclip from "../main.ts";
import type { Traits } from "../protocol.ts";
import {
  click,
  EMPTY,
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
import { MockModel, payload, tokensOf, wholeImage } from "../testing/mock.ts";

const BYTES = 4 * (5 * PATCHES + 5);
/** The first 100 bytes of a frame, sent as if they belonged at `offset`. */
const start = (frame: number, offset = 0, bytes = BYTES) => {
  const whole = result(5);
  const data = new DataView(whole.buffer, whole.byteOffset, 100);
  return estimate(1, data, frame, { offset, bytes });
};
const joins = (model: MockModel) => model.sent.filter(({ kind }) => kind === "join");
const refreshes = (model: MockModel) =>
  model.sent.filter((one) => one.kind === "join" && one.refresh).length;
const fresh = () => open(NOTHING);
/** Wait until the next task has run. */
const soon = () => new Promise((done) => setTimeout(done));
const notice = (view: View) => view.find("exclip-notice");
const shown = (view: View) => !Number.isNaN(view.values()[0]);

describe("progress", () => {
  it("says how long it will take, and counts down between two steps", async () => {
    vi.useFakeTimers({ toFake: ["setInterval", "clearInterval", "performance"] });
    const { model, view } = await fresh();
    model.begin(1);
    const words = view.find("exclip-computing");
    expect(words.textContent).toBe("Computing…");
    vi.advanceTimersByTime(10_000);
    model.receive({ kind: "progress", id: 1, done: 1, total: 4 });
    expect(words.textContent).toBe("Computing… 25 % · about 30 s left");
    vi.advanceTimersByTime(5_000);
    expect(words.textContent).toBe("Computing… 25 % · about 25 s left");
    vi.advanceTimersByTime(5_000);
    model.receive({ kind: "progress", id: 1, done: 4, total: 4 });
    expect(words.textContent).toBe("Computing… 100 %");
    vi.useRealTimers();
  });
});

describe("a result that is not exact yet", () => {
  const summary = { similarity: 0.4, residual: null, total: null, error: 0.0125 } as const;

  it("comes with its error bound until it is exact", async () => {
    const { model, view } = await fresh();
    model.begin(1);
    model.receive(...estimate(1, result(5)));
    expect(notice(view).hidden).toBe(true);
    model.receive({ kind: "progress", id: 1, done: 1, total: 4, error: 0.0125 });
    expect(notice(view).textContent).toBe("Each word × patch is known to about ±0.0125.");
    model.receive({ kind: "progress", id: 1, done: 4, total: 4 });
    expect(notice(view).hidden).toBe(true);
    model.finish(1, { _result: result(5), _summary: { ...summary, error: null } });
    expect(notice(view).hidden).toBe(true);
  });

  it("keeps the bound when finished, and next to the note of a cancellation", async () => {
    const { model, view } = await open({ _summary: summary });
    expect(notice(view).textContent).toBe("Each word × patch is known to about ±0.0125.");
    model.begin(1);
    model.receive(...estimate(1, result(5)));
    model.request(1, "cancelled", "", { _result: result(5), _summary: summary });
    expect(notice(view).textContent).toBe(
      "Cancelled. Showing the newest estimate. Each word × patch is known to about ±0.0125.",
    );
  });
});

describe("a view that joins late", () => {
  it("calculates the time left from when it joined", async () => {
    vi.useFakeTimers({ toFake: ["setInterval", "clearInterval", "performance"] });
    const { model, view } = await fresh();
    model.begin(1);
    model.receive({ kind: "progress", id: 1, done: 20, total: 40 });
    expect(view.find("exclip-computing").textContent).toBe("Computing… 50 %");
    vi.advanceTimersByTime(5_000);
    model.receive({ kind: "progress", id: 1, done: 25, total: 40 });
    expect(view.find("exclip-computing").textContent).toBe("Computing… 63 % · about 15 s left");
    vi.useRealTimers();
  });
});

describe("cancelling", () => {
  it("takes effect in the view at once, before the kernel responds", async () => {
    const { model, view } = await fresh();
    model.begin(3);
    model.receive(...estimate(3, result(5)));
    const before = view.values();
    view.find("exclip-cancel").click();
    expect(view.root.dataset.phase).toBe("cancelled");
    expect(view.find("exclip-progress").hidden).toBe(true);
    expect(model.sent.at(-1)).toEqual({ kind: "cancel", id: 3 });
    // Whatever still arrives for it is ignored.
    model.receive({ kind: "progress", id: 3, done: 3, total: 4 });
    const ones = payload(new Float32Array(5 * PATCHES).fill(1), range(5));
    model.receive(...estimate(3, ones, 1));
    model.begin(3);
    expect(view.root.dataset.phase).toBe("cancelled");
    expect(view.values()).toEqual(before);
    expect(notice(view).textContent).toBe("Cancelled. Showing the newest estimate.");
    // The kernel confirms it.
    model.request(3, "cancelled", "", { _result: result(5) });
    expect(view.root.dataset.phase).toBe("cancelled");
    expect(view.values()).toEqual(before);
    // The next request is shown again.
    model.begin(4);
    expect(view.root.dataset.phase).toBe("computing");
  });

  it("works before anything has been heard about the computation", async () => {
    const { model, view } = await open({
      ...NOTHING,
      _request: { id: 7, phase: "computing", message: "" },
    });
    view.find("exclip-cancel").click();
    expect(view.root.dataset.phase).toBe("cancelled");
    expect(model.sent.at(-1)).toEqual({ kind: "cancel", id: 7 });
    model.receive({ kind: "alive" });
    model.receive(...estimate(7, result(5)));
    expect(view.root.dataset.phase).toBe("cancelled");
    expect(shown(view)).toBe(false);
  });

  it("too late keeps the kernel's result", async () => {
    const { model, view } = await fresh();
    model.begin(3);
    view.find("exclip-cancel").click();
    model.finish(3, { _result: result(5) });
    expect(view.root.dataset.phase).toBe("done");
    expect(shown(view)).toBe(true);
  });

  it("names the result that is shown instead", async () => {
    const { model, view } = await open();
    model.begin(3);
    view.find("exclip-cancel").click();
    expect(notice(view).textContent).toBe("Cancelled. Showing the previous result.");
    model.request(3, "cancelled");
    expect(notice(view).textContent).toBe("Cancelled. Showing the previous result.");
    expect(shown(view)).toBe(true);
  });

  it("works from the keyboard alone", async () => {
    const { model, view } = await fresh();
    model.begin(2);
    view.find("exclip-cancel").focus();
    await userEvent.keyboard("{Enter}");
    expect(model.sent.at(-1)).toEqual({ kind: "cancel", id: 2 });
  });
});

describe("a damaged estimate", () => {
  it.each([
    ["out of order", [start(0, 100)], /a part of it is missing/],
    ["doubled", [start(0), start(0)], /or came twice/],
    ["of another length", [start(0, 0, 12)], /12 bytes/],
  ])("%s is dropped in words, and the next one shown", async (_, messages, words) => {
    const { model, view } = await fresh();
    model.begin(1);
    for (const message of messages) model.receive(...message);
    expect(notice(view).textContent).toMatch(/Estimate 1 of the caption was dropped/);
    expect(notice(view).textContent).toMatch(words);
    expect(shown(view)).toBe(false);
    model.receive(...estimate(1, result(5), 1));
    expect(notice(view).hidden).toBe(true);
    expect(view.values()[0]).toBeCloseTo(sum([1], range(PATCHES)), 10);
  });

  it("whose end is missing is reported when the next one arrives", async () => {
    const { model, view } = await fresh();
    model.begin(1);
    model.receive(...start(0));
    model.receive(...estimate(1, result(5), 1));
    expect(notice(view).textContent).toContain("missing");
    expect(shown(view)).toBe(true);
  });

  it("without its buffer, or not of the protocol at all, does no harm", async () => {
    const { model, view } = await open();
    const before = view.values();
    model.begin(1);
    const [content] = estimate(1, result(5));
    model.receive(content);
    model.receive({ ...content, frame: "0", offset: null, bytes: [] }, result(5));
    model.receive({ kind: "done", id: 1 });
    model.receive({ kind: "refused", question: "1", message: 3 });
    model.emit("msg:custom", null);
    model.emit("msg:custom", "alive");
    expect(view.values()).toEqual(before);
    expect(view.root.dataset.phase).toBe("computing");
    expect(notice(view).hidden).toBe(true);
  });
});

describe("a kernel", () => {
  it("that falls silent in mid-stream is reported, and asked again", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const { model, view } = await openTimed();
    model.begin(1);
    model.receive(...estimate(1, result(5)));
    const before = joins(model).length;
    vi.advanceTimersByTime(11_000);
    vi.useRealTimers();
    expect(notice(view).textContent).toContain("not responding");
    expect(notice(view).textContent).toContain("run the cell again");
    expect(shown(view)).toBe(true);
    expect(view.root.dataset.phase).toBe("computing");
    expect(joins(model)).toHaveLength(before + 1);
    // It was only busy.
    model.receive({ kind: "progress", id: 1, done: 2, total: 4 });
    expect(notice(view).hidden).toBe(true);
  });

  const openSilent = async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const { model, view } = await openTimed();
    model.receive({ kind: "alive" });
    model.begin(1, { _revision: 1 });
    vi.advanceTimersByTime(11_000);
    expect(notice(view).textContent).toContain("not responding");
    return { model, view, end: { _result: result(5) } };
  };

  it("whose result comes at last, without a message, is not reported any more", async () => {
    const { model, view, end } = await openSilent();
    model.finish(1, { ...end, _revision: 2 });
    expect(notice(view).hidden).toBe(true);
    // Nor with the next request, before it has come to its first estimate.
    model.begin(2, { _revision: 3 });
    vi.advanceTimersByTime(9_000);
    vi.useRealTimers();
    expect(notice(view).hidden).toBe(true);
  });

  it("is not waited for once there is nothing to wait for, also by a host without revisions", async () => {
    const { model, view, end } = await openSilent();
    model.finish(1, end);
    vi.advanceTimersByTime(100_000);
    vi.useRealTimers();
    expect(notice(view).hidden).toBe(true);
  });

  it("that is alive is never reported as silent", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const { model, view } = await openTimed();
    model.receive({ kind: "alive" });
    vi.advanceTimersByTime(60_000);
    vi.useRealTimers();
    expect(view.find("exclip-choose").getAttribute("aria-disabled")).not.toBe("true");
    expect(model.sent).toEqual([{ kind: "join" }]);
    expect(notice(view).hidden).toBe(true);
  });

  it("is asked again only what it has not answered", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const { model, view } = await openTimed();
    model.receive({ kind: "alive" });
    const asks = () => model.sent.filter(({ kind }) => kind === "change");
    view.find("exclip-controls").querySelector<HTMLElement>("[aria-pressed=false]")?.click();
    const [asked] = asks();
    expect(asked).toBeDefined();
    expect(refreshes(model)).toBe(0);
    vi.advanceTimersByTime(11_000);
    expect(asks()).toEqual([asked, asked]);
    // It may have been done already, with the traits that reported it lost.
    expect(refreshes(model)).toBe(1);
    model.receive({ kind: "accepted", question: (asked as { question: number }).question });
    vi.advanceTimersByTime(60_000);
    vi.useRealTimers();
    expect(asks()).toEqual([asked, asked]);
  });

  it("is asked for the state again if an older one arrives after a newer one", async () => {
    const { model } = await fresh();
    model.update({ _revision: 3, caption: "a red boat" });
    model.update({ _revision: 5 });
    expect(refreshes(model)).toBe(0);
    model.update({ _revision: 4, caption: "a boat" });
    expect(refreshes(model)).toBe(1);
    model.update({ _revision: 6, caption: "a red boat" });
    expect(refreshes(model)).toBe(1);
  });

  it("that finished while the connection was down is asked for the result", async () => {
    const { model, view } = await fresh();
    model.begin(1);
    model.receive(...estimate(1, result(5)));
    // Its answer to a join; what it had first been sent with was lost.
    model.request(1, "done");
    model.receive({ kind: "alive" });
    await soon();
    expect(view.root.dataset.phase).toBe("done");
    expect(shown(view)).toBe(true);
    expect(refreshes(model)).toBe(1);
    model.update({ _revision: 1 });
    await soon();
    expect(refreshes(model)).toBe(1);
    model.finish(1, { _result: result(5) });
    await soon();
    expect(refreshes(model)).toBe(1);
  });

  it("that finished is asked for nothing if a host announces one trait after the other", async () => {
    const { model, view } = await fresh();
    model.begin(1);
    model.set("_request", { id: 1, phase: "done", message: "" });
    model.set("_result", result(5));
    await soon();
    expect(view.root.dataset.phase).toBe("done");
    expect(shown(view)).toBe(true);
    expect(refreshes(model)).toBe(0);
  });

  it("that is asked for the state does not undo what was selected meanwhile", async () => {
    const { model, view } = await open();
    const state = { tokens: [], region: [] };
    model.update({ _revision: 5 });
    model.update({ _revision: 4 });
    expect(refreshes(model)).toBe(1);
    view.word("red").click();
    expect(view.pressed).toEqual(["red"]);
    const before = model.saved;
    // On its way since before the click; some hosts apply it unchanged.
    model.update({ ...state, _revision: 5 });
    expect(view.pressed).toEqual(["red"]);
    model.receive({ kind: "alive" });
    await soon();
    expect(view.pressed).toEqual(["red"]);
    expect(model.get("tokens")).toEqual([2]);
    expect(model.saved).toBeGreaterThan(before);
    // From here on, Python's selection counts again.
    model.update(state);
    expect(view.pressed).toEqual([]);
  });

  describe.each(["after", "before"])("whose state comes %s its answer", (order) => {
    /** Select the word "red" and a patch while the kernel's state is on its way, and let it come. */
    const selectedMeanwhile = async (state: Partial<Traits>) => {
      const { model, view } = await open();
      model.update({ _revision: 5 });
      model.update({ _revision: 4 });
      view.word("red").click();
      await click(view.patch(6));
      expect([model.get("tokens"), model.get("region")]).toEqual([[2], [6]]);
      const come = () => model.update({ tokens: [], region: [], ...state, _revision: 6 });
      if (order === "before") come();
      model.receive({ kind: "alive" });
      if (order === "after") come();
      await soon();
      expect(view.pressed).toEqual(model.get("tokens")?.length ? ["red"] : []);
      return [model.get("tokens"), model.get("region")];
    };

    it("selects nothing of another caption, and keeps the patches", async () => {
      const caption = "two cats and dogs";
      const next = { caption, _tokens: tokensOf(caption), _result: result(6) };
      expect(await selectedMeanwhile(next)).toEqual([[], [6]]);
    });

    it("selects nothing of another grid, and keeps the words", async () => {
      const next = { _grid: wholeImage(2, 4), _result: result(5, 8) };
      expect(await selectedMeanwhile(next)).toEqual([[2], []]);
    });

    it("keeps both at another layer", async () => {
      expect(await selectedMeanwhile({ image_layer: 3 })).toEqual([[2], [6]]);
    });
  });

  it("that was interrupted says so, and the last good result stays", async () => {
    const { model, view } = await open();
    const before = view.values();
    model.begin(1);
    model.request(1, "error", "KeyboardInterrupt", { _result: result(5) });
    expect(view.find("exclip-error").textContent).toBe("KeyboardInterrupt");
    expect(view.values()).toEqual(before);
  });

  it("that comes back resumes where it is", async () => {
    const { model, view } = await fresh();
    model.begin(1);
    model.receive({ kind: "progress", id: 1, done: 1, total: 4 });
    model.receive(...start(0));
    // Answers to a join: the status of the request, and its newest estimate.
    model.set("_request", { id: 1, phase: "computing", message: "" });
    model.receive({ kind: "alive" });
    model.receive(...estimate(1, result(5)));
    expect(shown(view)).toBe(true);
    expect(notice(view).hidden).toBe(true);
    expect(view.find("exclip-progress").getAttribute("aria-valuenow")).toBe("25");
  });
});

describe("a stream", () => {
  it("of 64 MB is painted at most once per browser frame, however many messages arrive", async () => {
    const [rows, columns, count] = [32, 32, 77];
    const caption = "word ".repeat(count - 2).trim();
    const tokens = tokensOf(caption);
    const { model, view } = await open({
      caption,
      _tokens: tokens,
      _grid: wholeImage(rows, columns),
      _result: EMPTY,
    });
    const data = payload(
      new Float32Array(count * rows * columns).map((_, i) => Math.sin(i)),
      range(count),
    );
    const estimates = Math.ceil(64e6 / data.byteLength);
    const painted = vi.spyOn(CanvasRenderingContext2D.prototype, "clearRect");
    model.begin(1);
    let frames = 0;
    let running = true;
    const watch = () => {
      frames++;
      if (running) requestAnimationFrame(watch);
    };
    requestAnimationFrame(watch);
    for (let frame = 0; frame < estimates; frame++) {
      for (const { offset, piece } of chunksOf(data)) {
        model.receive(...estimate(1, piece, frame, { offset, bytes: data.byteLength }));
        // A websocket delivers each message in its own task.
        await new Promise<void>((resolve) => {
          const { port1, port2 } = new MessageChannel();
          port1.onmessage = () => resolve();
          port2.postMessage(0);
        });
      }
    }
    running = false;
    expect(shown(view)).toBe(true);
    expect(painted.mock.calls.length).toBeGreaterThan(0);
    expect(painted.mock.calls.length).toBeLessThanOrEqual(frames);
  });

  it("of one frame of 64 MB costs each message only its own bytes", async () => {
    const { assembleFrames } = await import("../state/frames.ts");
    const shape = [256, 256, 256] as const;
    const bytes = 4 * (256 ** 3 + 256);
    const assemble = assembleFrames(shape, "caption");
    const data = new DataView(new ArrayBuffer(CHUNK));
    const copied = vi.spyOn(Uint8Array.prototype, "set");
    const sliced = vi.spyOn(Uint8Array.prototype, "slice");
    let frame: Interactions | undefined;
    for (let offset = 0; offset < bytes; offset += CHUNK) {
      const piece = new DataView(data.buffer, 0, Math.min(CHUNK, bytes - offset));
      ({ frame } = assemble({ frame: 0, offset, bytes }, piece));
    }
    expect(frame?.values.length).toBe(256 ** 3);
    const sizes = copied.mock.calls.map(([from]) => from.length);
    expect(Math.max(...sizes)).toBeLessThanOrEqual(CHUNK);
    expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(bytes);
    expect(sliced).not.toHaveBeenCalled();
  });
});

const CHUNK = 256 * 1024;

/** The chunks in which the kernel sends an estimate. */
function* chunksOf(data: DataView) {
  for (let offset = 0; offset < data.byteLength; offset += CHUNK) {
    const size = Math.min(CHUNK, data.byteLength - offset);
    yield { offset, piece: new DataView(data.buffer, data.byteOffset + offset, size) };
  }
}

/** Open while timers are frozen, waiting for nothing. */
async function openTimed() {
  const model = new MockModel(await traits());
  const widget = exclip();
  widget.initialize({ model });
  return { model, view: new View(widget, model) };
}
