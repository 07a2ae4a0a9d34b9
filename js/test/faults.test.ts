/** What can go wrong on the way from the kernel, and what a person reads of it. */
import { describe, expect, it, vi } from "vitest";
import { userEvent } from "vitest/browser";
import exclip from "../main.ts";
import {
  COLUMNS,
  EMPTY,
  open,
  PATCHES,
  ROWS,
  range,
  result,
  sum,
  traits,
  View,
} from "../testing/harness.ts";
import { MockModel, payload, tokensOf, wholePicture } from "../testing/mock.ts";

const SHAPE = [5, ROWS, COLUMNS];
const begin = (id: number) => ({ kind: "begin", id, shape: SHAPE, frames: 4 });
const BYTES = 4 * (5 * PATCHES + 5);
const chunk = (id: number, frame: number, offset = 0) => ({
  kind: "chunk",
  id,
  frame,
  offset,
  bytes: BYTES,
});
const part = (from: number, to: number) => {
  const whole = result(5);
  return new DataView(whole.buffer, whole.byteOffset + from, to - from);
};
const fresh = () =>
  open({ _result: EMPTY, _summary: null, _status: { phase: "idle", message: "" } });
const notice = (view: View) => view.find("exclip-notice");
const shown = (view: View) => !Number.isNaN(view.values()[0]);

describe("progress", () => {
  it("says how long it will take, and runs down between two steps", async () => {
    vi.useFakeTimers({ toFake: ["setInterval", "clearInterval", "performance"] });
    const { model, view } = await fresh();
    model.receive(begin(1));
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

describe("a view that joins late", () => {
  it("reckons the time left from when it came", async () => {
    vi.useFakeTimers({ toFake: ["setInterval", "clearInterval", "performance"] });
    const { model, view } = await fresh();
    model.receive(begin(1));
    model.receive({ kind: "progress", id: 1, done: 20, total: 40 });
    expect(view.find("exclip-computing").textContent).toBe("Computing… 50 %");
    vi.advanceTimersByTime(5_000);
    model.receive({ kind: "progress", id: 1, done: 25, total: 40 });
    expect(view.find("exclip-computing").textContent).toBe("Computing… 63 % · about 15 s left");
    vi.useRealTimers();
  });
});

describe("cancelling", () => {
  it("acts in the view at once, before the kernel has heard of it", async () => {
    const { model, view } = await fresh();
    model.receive(begin(3));
    model.receive(chunk(3, 0), result(5));
    const before = view.values();
    const start = performance.now();
    view.find("exclip-cancel").click();
    await new Promise(requestAnimationFrame);
    expect(performance.now() - start).toBeLessThan(200);
    expect(view.root.dataset.phase).toBe("cancelled");
    expect(view.find("exclip-progress").hidden).toBe(true);
    expect(model.sent.at(-1)).toEqual({ kind: "cancel", id: 3 });
    // What still comes of it is nobody's business any more.
    model.receive({ kind: "progress", id: 3, done: 3, total: 4 });
    model.receive(
      chunk(3, 1),
      payload(
        range(5 * PATCHES).map(() => 1),
        range(5),
      ),
    );
    model.receive(begin(3));
    model.receive({ kind: "done", id: 3, similarity: 0.9 });
    expect(view.root.dataset.phase).toBe("cancelled");
    expect(view.values()).toEqual(before);
    expect(notice(view).textContent).toContain("last finished step");
    // The next one is.
    model.receive(begin(4));
    expect(view.root.dataset.phase).toBe("computing");
  });

  it("works before the number of what is computed is known", async () => {
    const { model, view } = await fresh();
    model.set("_status", { phase: "computing", message: "" });
    view.find("exclip-cancel").click();
    expect(view.root.dataset.phase).toBe("cancelled");
    model.receive(begin(7));
    expect(model.sent.at(-1)).toEqual({ kind: "cancel", id: 7 });
    expect(view.root.dataset.phase).toBe("cancelled");
  });

  it("is done by the keyboard alone", async () => {
    const { model, view } = await fresh();
    model.receive(begin(2));
    view.find("exclip-cancel").focus();
    await userEvent.keyboard("{Enter}");
    expect(model.sent.at(-1)).toEqual({ kind: "cancel", id: 2 });
  });
});

describe("a step that is not as it should be", () => {
  it.each([
    ["out of order", [chunk(1, 0, 100)], /continued at byte 100 instead of 0/],
    ["doubled", [chunk(1, 0), chunk(1, 0)], /continued at byte 0 instead of 100/],
    ["of another length", [{ ...chunk(1, 0), bytes: 12 }], /announced 12 bytes/],
  ])("%s is dropped in words, and the next one shown", async (_, messages, words) => {
    const { model, view } = await fresh();
    model.receive(begin(1));
    for (const message of messages) model.receive(message, part(0, 100));
    expect(notice(view).textContent).toMatch(/Step 1 .* dropped/);
    expect(notice(view).textContent).toMatch(words);
    expect(shown(view)).toBe(false);
    model.receive(chunk(1, 1), result(5));
    expect(notice(view).hidden).toBe(true);
    expect(view.values()[0]).toBeCloseTo(sum([1], range(PATCHES)), 10);
  });

  it("whose end is missing is named when the next one comes", async () => {
    const { model, view } = await fresh();
    model.receive(begin(1));
    model.receive(chunk(1, 0), part(0, 100));
    model.receive(chunk(1, 1), result(5));
    expect(notice(view).textContent).toContain("ended early");
    expect(shown(view)).toBe(true);
  });

  it("without its buffer, or not of the protocol at all, harms nothing", async () => {
    const { model, view } = await open();
    const before = view.values();
    model.receive(begin(1));
    model.receive(chunk(1, 0));
    model.receive({ kind: "chunk", id: 1, frame: "0", offset: null, bytes: [] });
    model.receive({ kind: "done", id: 1 });
    model.receive({ kind: "refused", ask: "1", message: 3 });
    model.emit("msg:custom", null);
    model.emit("msg:custom", "done");
    expect(view.values()).toEqual(before);
    expect(notice(view).textContent).toContain("without data");
  });
});

describe("a kernel", () => {
  it("that falls silent in mid-stream is missed in words, and asked again", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const { model, view } = await openTimed();
    model.receive(begin(1));
    model.receive(chunk(1, 0), result(5));
    const hellos = () => model.sent.filter(({ kind }) => kind === "hello").length;
    const before = hellos();
    vi.advanceTimersByTime(11_000);
    vi.useRealTimers();
    expect(notice(view).textContent).toContain("says nothing");
    expect(notice(view).textContent).toContain("run the cell again");
    expect(shown(view)).toBe(true);
    expect(view.root.dataset.phase).toBe("computing");
    expect(hellos()).toBe(before + 1);
    // It was only busy.
    model.receive({ kind: "progress", id: 1, done: 2, total: 4 });
    expect(notice(view).hidden).toBe(true);
  });

  it("that is there is not missed, whatever it is asked", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const { model, view } = await openTimed();
    model.receive({ kind: "here", id: 4 });
    vi.advanceTimersByTime(60_000);
    vi.useRealTimers();
    expect(view.find("exclip-choose").getAttribute("aria-disabled")).not.toBe("true");
    expect(model.sent).toEqual([{ kind: "hello" }]);
    expect(notice(view).hidden).toBe(true);
  });

  it("is asked again what it has not answered, and nothing that it has", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const { model, view } = await openTimed();
    model.receive({ kind: "here", id: 4 });
    const asks = () => model.sent.filter(({ kind }) => kind === "ask");
    view.root.querySelector<HTMLElement>("[data-method]:not([aria-pressed=true])")?.click();
    const [asked] = asks();
    expect(asked).toBeDefined();
    vi.advanceTimersByTime(11_000);
    expect(asks()).toEqual([asked, asked]);
    model.receive({ kind: "accepted", ask: (asked as { ask: number }).ask });
    vi.advanceTimersByTime(60_000);
    vi.useRealTimers();
    expect(asks()).toEqual([asked, asked]);
  });

  it("is asked for the state again where an older one came after a newer", async () => {
    const { model } = await fresh();
    const again = () => model.sent.filter((one) => one.kind === "hello" && one.again).length;
    model.update({ _revision: 3, caption: "a red boat" });
    model.update({ _revision: 5 });
    expect(again()).toBe(0);
    model.update({ _revision: 4, caption: "a boat" });
    expect(again()).toBe(1);
    model.update({ _revision: 6, caption: "a red boat" });
    expect(again()).toBe(1);
  });

  it("that is through with what is shown as computed says so", async () => {
    const { model, view } = await fresh();
    model.receive(begin(1));
    model.receive(chunk(1, 0), result(5));
    model.receive({ kind: "here", id: 1 });
    expect(view.root.dataset.phase).toBe("idle");
    expect(notice(view).textContent).toContain("run the cell again");
    expect(shown(view)).toBe(true);
  });

  it("that was interrupted says so, and the last good result stays", async () => {
    const { model, view } = await open();
    const before = view.values();
    model.receive(begin(1));
    model.receive({ kind: "error", id: 1, message: "KeyboardInterrupt" });
    expect(view.find("exclip-error").textContent).toBe("KeyboardInterrupt");
    expect(view.values()).toEqual(before);
  });

  it("that comes back joins where it is", async () => {
    const { model, view } = await fresh();
    model.receive(begin(1));
    model.receive({ kind: "progress", id: 1, done: 1, total: 4 });
    model.receive(chunk(1, 0), part(0, 100));
    model.receive(begin(1));
    model.receive(chunk(1, 0), result(5));
    expect(shown(view)).toBe(true);
    expect(notice(view).hidden).toBe(true);
    expect(view.find("exclip-progress").getAttribute("aria-valuenow")).toBe("25");
  });
});

describe("a stream", () => {
  // Again where another program took the time; what is slow by itself stays slow.
  it("of 64 MB makes no frame longer than 50 ms", { retry: 3 }, async () => {
    const [rows, columns, count] = [32, 32, 77];
    const caption = "word ".repeat(count - 2).trim();
    const tokens = tokensOf(caption);
    const { model, view } = await open({
      caption,
      _tokens: tokens,
      _grid: wholePicture(rows, columns),
      _result: EMPTY,
      _result_shape: [count, rows, columns],
    });
    const data = payload(
      new Float32Array(count * rows * columns).map((_, i) => Math.sin(i)),
      range(count),
    );
    const frames = Math.ceil(64e6 / data.byteLength);
    model.receive({ kind: "begin", id: 1, shape: [count, rows, columns], frames });
    const gaps: number[] = [];
    let last = performance.now();
    let running = true;
    const watch = () => {
      const now = performance.now();
      gaps.push(now - last);
      last = now;
      if (running) requestAnimationFrame(watch);
    };
    requestAnimationFrame(watch);
    const CHUNK = 256 * 1024;
    let longest = 0;
    for (let frame = 0; frame < frames; frame++) {
      for (let offset = 0; offset < data.byteLength; offset += CHUNK) {
        const size = Math.min(CHUNK, data.byteLength - offset);
        const start = performance.now();
        model.receive(
          { kind: "chunk", id: 1, frame, offset, bytes: data.byteLength },
          new DataView(data.buffer, data.byteOffset + offset, size),
        );
        longest = Math.max(longest, performance.now() - start);
        // A websocket hands over each message in a task of its own.
        await new Promise<void>((resolve) => {
          const { port1, port2 } = new MessageChannel();
          port1.onmessage = () => resolve();
          port2.postMessage(0);
        });
      }
    }
    running = false;
    expect(shown(view)).toBe(true);
    expect(Math.max(...gaps)).toBeLessThan(50);
    expect(longest).toBeLessThan(50);
  });

  it("of one frame of 64 MB is taken in chunk by chunk", async () => {
    const { FrameAssembler } = await import("../state/frames.ts");
    const shape = [256, 256, 256] as const;
    const bytes = 4 * (256 ** 3 + 256);
    const assembler = new FrameAssembler(shape);
    const CHUNK = 256 * 1024;
    const data = new DataView(new ArrayBuffer(CHUNK));
    let longest = 0;
    let complete = false;
    for (let offset = 0; offset < bytes; offset += CHUNK) {
      const start = performance.now();
      const piece = new DataView(data.buffer, 0, Math.min(CHUNK, bytes - offset));
      complete = assembler.accept({ frame: 0, offset, bytes }, piece).frame !== undefined;
      longest = Math.max(longest, performance.now() - start);
    }
    expect(complete).toBe(true);
    expect(longest).toBeLessThan(50);
  });
});

/** Opened while timers stand still: nothing is waited for. */
async function openTimed() {
  const model = new MockModel(
    await traits({ _result: EMPTY, _status: { phase: "idle", message: "" } }),
  );
  const widget = exclip();
  widget.initialize({ model });
  return { model, view: new View(widget, model) };
}
