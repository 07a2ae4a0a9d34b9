import { describe, expect, it, vi } from "vitest";
import { userEvent } from "vitest/browser";
import exclip from "../main.ts";
import type { ToKernel } from "../protocol.ts";
import {
  COLUMNS,
  center,
  click,
  drag,
  EMPTY,
  open,
  PATCHES,
  painted,
  ROWS,
  range,
  result,
  sum,
  traits,
  View,
} from "../testing/harness.ts";
import { MockModel, tokensOf } from "../testing/mock.ts";

type Asked = Extract<ToKernel, { kind: "ask" }>;

const asks = (model: MockModel) =>
  model.sent.filter((message): message is Asked => message.kind === "ask");
const lastAsk = (model: MockModel): Asked => asks(model).at(-1) as Asked;
const accept = (model: MockModel, { ask }: { ask: number } = lastAsk(model)) =>
  model.receive({ kind: "accepted", ask });
const refuse = (model: MockModel, message: string, { ask }: { ask: number } = lastAsk(model)) =>
  model.receive({ kind: "refused", ask, message });

/** What the kernel does with a caption that it takes. */
function take(model: MockModel, caption: string, id: number): void {
  const _tokens = tokensOf(caption);
  model.update({
    caption,
    _tokens,
    _result: EMPTY,
    _result_shape: [_tokens.length, ROWS, COLUMNS],
    _summary: null,
    _status: { phase: "computing", message: "" },
  });
  model.receive({ kind: "begin", id, shape: [_tokens.length, ROWS, COLUMNS], frames: 1 });
}

const chunk = (id: number, data: DataView, frame = 0, part?: "main" | "foil") =>
  [
    { kind: "chunk", id, frame, offset: 0, bytes: data.byteLength, ...(part ? { part } : {}) },
    data,
  ] as const;

const pencil = (view: View, part = "caption") =>
  view
    .find(`exclip-line-${part}`)
    .querySelector<HTMLElement>(`[aria-label="Edit the ${part}"]`) as HTMLElement;
const field = (view: View, part = "caption") =>
  view.find<HTMLTextAreaElement>(`exclip-field-${part}`);
const editing = (view: View) => view.el.querySelector("textarea") !== null;

async function write(view: View, text: string, part = "caption"): Promise<void> {
  await userEvent.fill(field(view, part), text);
  await userEvent.keyboard("{Enter}");
}

describe("editing the caption", () => {
  it("happens where the words stand, and asks with Enter", async () => {
    const { model, view } = await open();
    const before = view.find("exclip-line-caption").getBoundingClientRect();
    await userEvent.click(pencil(view));
    expect(document.activeElement).toBe(field(view));
    expect(field(view).value).toBe("a red boat");
    expect(view.words).toHaveLength(0);
    const { top, left } = field(view).getBoundingClientRect();
    expect(Math.abs(top - before.top)).toBeLessThan(8);
    expect(Math.abs(left - before.left)).toBeLessThan(8);
    await write(view, "a blue boat");
    expect(lastAsk(model).changes).toEqual({ caption: "a blue boat" });
    accept(model);
    take(model, "a blue boat", 2);
    expect(editing(view)).toBe(false);
    expect(view.words.map((node) => node.textContent)).toEqual(["a", "blue", "boat"]);
    await expect.poll(() => document.activeElement === pencil(view)).toBe(true);
  });

  it("begins with a double click or F2 on the words, and Enter on the pencil", async () => {
    const { view } = await open();
    await userEvent.dblClick(view.word("boat"));
    expect(editing(view)).toBe(true);
    await userEvent.keyboard("{Escape}");
    expect(editing(view)).toBe(false);
    view.word("red").focus();
    await userEvent.keyboard("{F2}");
    expect(editing(view)).toBe(true);
    await userEvent.keyboard("{Escape}");
    await expect.poll(() => document.activeElement === pencil(view)).toBe(true);
    await userEvent.keyboard("{Enter}");
    expect(editing(view)).toBe(true);
  });

  it("goes back with Esc, asks nothing, and keeps the selection", async () => {
    const { model, view } = await open({ tokens: [2] });
    await userEvent.click(pencil(view));
    await userEvent.keyboard("xyz{Escape}");
    expect(view.words.map((node) => node.textContent)).toEqual(["a", "red", "boat"]);
    expect(asks(model)).toEqual([]);
    expect(model.get("tokens")).toEqual([2]);
  });

  it("has the selected words ready to be replaced", async () => {
    const { model, view } = await open({ tokens: [2] });
    await userEvent.click(pencil(view));
    await userEvent.keyboard("green{Enter}");
    expect(lastAsk(model).changes).toEqual({ caption: "a green boat" });
  });

  it("shows what is refused right there, with the old result still on screen", async () => {
    const { model, view } = await open();
    const heat = view.pixels();
    await userEvent.click(pencil(view));
    await write(view, "boat ".repeat(90));
    refuse(model, "The caption has <b>92</b> tokens; this model reads 77.");
    const words = view.find("exclip-refused-caption");
    expect(words.hidden).toBe(false);
    expect(words.textContent).toBe("The caption has <b>92</b> tokens; this model reads 77.");
    expect(field(view).value).toContain("boat boat");
    expect(field(view).getAttribute("aria-invalid")).toBe("true");
    expect(view.pixels()).toBe(heat);
    await userEvent.keyboard("{Escape}");
    expect(words.hidden).toBe(true);
    expect(view.values()[0]).toBeCloseTo(sum([1], range(PATCHES)), 10);
  });

  it("leaves exactly the last one's result after ten quick edits", async () => {
    const { model, view } = await open();
    await userEvent.click(pencil(view));
    for (const n of range(10)) await write(view, `boat number ${n}`);
    const all = asks(model);
    expect(all).toHaveLength(10);
    expect(new Set(all.map(({ ask }) => ask)).size).toBe(10);
    // Each was begun before the next came; answers trickle in late and out of step.
    all.forEach((ask, n) => {
      accept(model, ask);
      expect(editing(view)).toBe(n < 9);
      take(model, `boat number ${n}`, n + 2);
    });
    for (const n of range(9)) {
      model.receive(...chunk(n + 2, result(5)));
      model.receive({ kind: "done", id: n + 2, similarity: n });
    }
    expect(view.values()[0]).toBeNaN();
    expect(view.root.dataset.phase).toBe("computing");
    model.receive(...chunk(11, result(5)));
    model.receive({ kind: "done", id: 11, similarity: 0.25, total: 0.24, residual: 0 });
    expect(view.words.at(-1)?.textContent).toBe("9");
    expect(view.values()[0]).toBeCloseTo(sum([1], range(PATCHES)), 10);
    expect(view.root.dataset.phase).toBe("done");
  });

  it("does not interrupt whoever has gone on writing", async () => {
    const { model, view } = await open();
    await userEvent.click(pencil(view));
    await write(view, "one");
    await userEvent.keyboard(" more");
    accept(model);
    expect(field(view).value).toBe("one more");
  });

  it("asks in one line, whatever was pasted, in any script", async () => {
    const { model, view } = await open({ caption: "قارب أحمر" });
    await userEvent.click(pencil(view));
    expect(getComputedStyle(field(view)).direction).toBe("rtl");
    field(view).value = "قارب\n  أزرق <b>👩‍👧</b>";
    await userEvent.keyboard("{Enter}");
    expect(lastAsk(model).changes).toEqual({ caption: "قارب أزرق <b>👩‍👧</b>" });
  });

  it("keeps its letters from the shortcuts around it", async () => {
    const { model, view } = await open({ tokens: [2] });
    await userEvent.click(pencil(view));
    const heard = vi.fn();
    document.body.addEventListener("keydown", heard, { once: true });
    await userEvent.keyboard("iblp");
    expect(heard).not.toHaveBeenCalled();
    expect(model.get("tokens")).toEqual([2]);
    document.body.removeEventListener("keydown", heard);
  });
});

describe("method and layers", () => {
  const slider = (view: View, which = "image") => view.find(`exclip-${which}_layer`);

  it("says which they are, by name", async () => {
    const { view } = await open({ text_layer: "output" });
    expect(slider(view).getAttribute("aria-valuetext")).toBe("visual.transformer.resblocks.2");
    expect(slider(view).getAttribute("aria-valuemax")).toBe("6");
    expect(slider(view, "text").getAttribute("aria-valuetext")).toBe("output");
  });

  it("asks with each step of the arrow keys, to the output and no further", async () => {
    const { model, view } = await open();
    slider(view).focus();
    await userEvent.keyboard("{ArrowRight}{End}{ArrowRight}{Home}");
    expect(asks(model).map(({ changes }) => changes.image_layer)).toEqual([3, "output", 0]);
    expect(slider(view).getAttribute("aria-valuenow")).toBe("0");
  });

  it("asks while it is dragged, once for each tick", async () => {
    const { model, view } = await open();
    slider(view).scrollIntoView({ block: "center" });
    await painted();
    const { left, top, width, height } = slider(view).getBoundingClientRect();
    const at = (tick: number): [number, number] => [left + (width * tick) / 6, top + height / 2];
    await click(at(2));
    await drag([at(2), at(2.2), at(3), at(4), at(6)]);
    const asked = asks(model).map(({ changes }) => changes.image_layer);
    expect(asked).toEqual([3, 4, "output"]);
    expect(new Set(asked).size).toBe(asked.length);
  });

  it("keeps the last layer's result on screen, marked as being replaced", async () => {
    const { model, view } = await open();
    const before = view.values();
    slider(view).focus();
    await userEvent.keyboard("{ArrowRight}");
    accept(model);
    model.update({
      image_layer: 3,
      _result: EMPTY,
      _summary: null,
      _status: { phase: "computing", message: "" },
    });
    model.receive({ kind: "begin", id: 2, shape: [5, ROWS, COLUMNS], frames: 1 });
    expect(view.values()).toEqual(before);
    expect(view.root.classList).toContain("exclip-stale");
    model.receive(...chunk(2, result(5)));
    expect(view.root.classList).not.toContain("exclip-stale");
  });

  it("goes back to where it was when a layer is refused, and says why", async () => {
    const { model, view } = await open();
    slider(view).focus();
    await userEvent.keyboard("{ArrowRight}");
    expect(slider(view).getAttribute("aria-valuenow")).toBe("3");
    refuse(model, "layer 3 is never run");
    expect(slider(view).getAttribute("aria-valuenow")).toBe("2");
    expect(view.find("exclip-refused-control").textContent).toBe("layer 3 is never run");
    await userEvent.keyboard("{ArrowLeft}");
    expect(view.find("exclip-refused-control").hidden).toBe(true);
  });

  it("ignores answers to older questions", async () => {
    const { model, view } = await open();
    slider(view).focus();
    await userEvent.keyboard("{ArrowRight}{ArrowRight}");
    const [first] = asks(model);
    refuse(model, "no", first);
    expect(slider(view).getAttribute("aria-valuenow")).toBe("4");
    expect(view.find("exclip-refused-control").hidden).toBe(true);
  });

  it("changes the method with a button that is pressed", async () => {
    const { model, view } = await open();
    const methods = [...view.find("exclip-controls").querySelectorAll("button")];
    expect(methods.map((node) => node.getAttribute("aria-pressed"))).toEqual([
      "true",
      "false",
      "false",
      "false",
    ]);
    await userEvent.click(methods[2] as HTMLElement);
    expect(lastAsk(model).changes).toEqual({ method: "gradient" });
    expect(methods[2]?.getAttribute("aria-pressed")).toBe("true");
    await userEvent.keyboard("{ArrowRight}{Enter}");
    expect(lastAsk(model).changes).toEqual({ method: "banzhaf" });
  });
});

describe("testing a selection", () => {
  const TESTS = [
    {
      id: 1,
      tokens: [2],
      region: [1, 2],
      predicted: 0.03,
      actual: 0.021,
      label: "red × 2 patches",
    },
    { id: 2, tokens: [3], region: [], predicted: -0.01, actual: 0.002, label: "<i>boat</i>" },
  ];

  it("masks what is selected, once there is something", async () => {
    const { model, view } = await open();
    const test = view.find("exclip-test");
    expect(test.getAttribute("aria-disabled")).toBe("true");
    await userEvent.click(test, { force: true });
    expect(model.sent.filter(({ kind }) => kind === "test")).toEqual([]);
    await click(view.middle("red"));
    await click(view.patch(5));
    await userEvent.click(test);
    expect(model.sent.at(-1)).toMatchObject({ kind: "test", tokens: [2], region: [5] });
    expect(test.textContent).toBe("Testing…");
    const { ask } = model.sent.at(-1) as { ask: number };
    model.set("_tests", TESTS);
    model.receive({ kind: "tested", ask });
    expect(test.textContent).toBe("Test this selection");
  });

  it("shows predicted beside actual, as rows and as dots", async () => {
    const { view } = await open({ _tests: TESTS });
    const rows = [...view.el.querySelectorAll<HTMLElement>("button.exclip-trial")];
    expect(rows.map((row) => row.textContent)).toEqual([
      "<i>boat</i>−0.0100+0.00200",
      "red × 2 patches+0.0300+0.0210",
    ]);
    // From the middle of the plot, up and to the right.
    const dots = [...view.el.querySelectorAll("circle")].map((dot) => [
      Number(dot.getAttribute("cx")) - 50,
      50 - Number(dot.getAttribute("cy")),
    ]);
    expect(dots[0]?.[0]).toBeGreaterThan(0);
    expect(dots[0]?.[1]).toBeCloseTo(((dots[0]?.[0] ?? 0) * 0.021) / 0.03, 6);
    expect(dots[1]?.[0]).toBeLessThan(0);
  });

  it("selects again what a row was about", async () => {
    const { model, view } = await open({ _tests: TESTS });
    const row = view.el.querySelectorAll<HTMLElement>("button.exclip-trial")[1];
    row?.focus();
    await userEvent.keyboard("{Enter}");
    expect(model.get("tokens")).toEqual([2]);
    expect(model.get("region")).toEqual([1, 2]);
  });

  it("is refused in words, and cleared", async () => {
    const { model, view } = await open({ _tests: TESTS, tokens: [2] });
    await userEvent.click(view.find("exclip-test"));
    refuse(model, "The text tower reads no masks.", model.sent.at(-1) as { ask: number });
    expect(view.find("exclip-refused-test").textContent).toBe("The text tower reads no masks.");
    await userEvent.click(view.find("exclip-untest"));
    expect(model.sent.at(-1)).toEqual({ kind: "untest" });
    expect(view.find("exclip-refused-test").hidden).toBe(true);
  });

  it("comes to nothing when something else is asked for meanwhile", async () => {
    const { model, view } = await open({ tokens: [2] });
    await userEvent.click(view.find("exclip-test"));
    expect(view.find("exclip-test").textContent).toBe("Testing…");
    view.find("exclip-image_layer").focus();
    await userEvent.keyboard("{ArrowRight}");
    accept(model);
    expect(view.find("exclip-test").textContent).toBe("Test this selection");
  });

  it("waits for the result", async () => {
    const { model, view } = await open({ tokens: [2] });
    model.receive({ kind: "begin", id: 4, shape: [5, ROWS, COLUMNS], frames: 1 });
    expect(view.find("exclip-test").getAttribute("aria-disabled")).toBe("true");
  });
});

describe("another picture", () => {
  const MIB = 2 ** 20;
  const uploads = (model: MockModel) =>
    model.sent.flatMap((message, i) =>
      message.kind === "upload" ? [{ ...message, size: model.buffers[i]?.[0]?.byteLength }] : [],
    );
  const file = (bytes: BlobPart, name: string) => new File([bytes], name, { type: "image/png" });

  function drop(view: View, ...files: File[]): DataTransfer {
    const dataTransfer = new DataTransfer();
    for (const one of files) dataTransfer.items.add(one);
    const give = (type: string) =>
      view.canvas.dispatchEvent(
        new DragEvent(type, { dataTransfer, bubbles: true, cancelable: true }),
      );
    expect(give("dragover")).toBe(false);
    expect(view.root.classList).toContain("exclip-dropping");
    give("drop");
    expect(view.root.classList).not.toContain("exclip-dropping");
    return dataTransfer;
  }

  it("is sent in order, in chunks of at most 1 MiB", async () => {
    const { model, view } = await open();
    const name = '<img src=x onerror="boom()">.png';
    drop(view, file(new Uint8Array(2.5 * MIB), name));
    await expect.poll(() => uploads(model).length).toBe(3);
    const sent = uploads(model);
    expect(sent.map(({ offset, size }) => [offset, size])).toEqual([
      [0, MIB],
      [MIB, MIB],
      [2 * MIB, MIB / 2],
    ]);
    expect(sent.every(({ bytes }) => bytes === 2.5 * MIB)).toBe(true);
    expect(new Set(sent.map(({ upload }) => upload)).size).toBe(1);
    expect(view.el.textContent).toContain(name);
    expect(view.el.querySelector("img[onerror]")).toBeNull();
    model.receive({ kind: "accepted", upload: sent[0]?.upload });
    expect(view.el.textContent).not.toContain(name);
  });

  it("may be pasted", async () => {
    const { model, view } = await open();
    const clipboardData = new DataTransfer();
    clipboardData.items.add(file("picture", "pasted.png"));
    view.canvas.dispatchEvent(
      new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true }),
    );
    await expect.poll(() => uploads(model)[0]?.name).toBe("pasted.png");
  });

  it("may be chosen", async () => {
    const { model, view } = await open();
    await userEvent.upload(view.find("exclip-file"), file("picture", "chosen.png"));
    await expect.poll(() => uploads(model)[0]?.name).toBe("chosen.png");
  });

  it("is refused above 32 MiB before anything is sent", async () => {
    const { model, view } = await open();
    drop(view, file(new Uint8Array(33 * MIB), "huge.png"));
    await expect.poll(() => view.find("exclip-refused-picture").textContent).toContain("33 MiB");
    expect(uploads(model)).toEqual([]);
  });

  it("that Python refuses says why in place, and the old one stays", async () => {
    const { model, view } = await open();
    const shown = view.el.querySelector("img")?.src;
    drop(view, file("<svg/>", "drawing.svg"));
    await expect.poll(() => uploads(model).length).toBe(1);
    model.receive({
      kind: "refused",
      upload: uploads(model)[0]?.upload,
      message: "drawing.svg is an SVG, which has no pixels.",
    });
    expect(view.find("exclip-refused-picture").textContent).toContain("no pixels");
    expect(view.el.querySelector("img")?.src).toBe(shown);
  });

  it("stops sending what a newer one replaces", async () => {
    const { model, view } = await open();
    drop(view, file(new Uint8Array(20 * MIB), "first.png"));
    drop(view, file(new Uint8Array(MIB), "second.png"));
    await expect
      .poll(() => uploads(model).filter(({ name }) => name === "second.png").length)
      .toBe(1);
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(uploads(model).filter(({ name }) => name === "first.png").length).toBeLessThan(5);
  });

  it("leaves text that is pasted or dragged alone", async () => {
    const { model, view } = await open();
    const dataTransfer = new DataTransfer();
    dataTransfer.setData("text/plain", "a boat");
    const over = new DragEvent("dragover", { dataTransfer, bubbles: true, cancelable: true });
    expect(view.canvas.dispatchEvent(over)).toBe(true);
    expect(view.root.classList).not.toContain("exclip-dropping");
    expect(uploads(model)).toEqual([]);
  });
});

describe("without a kernel", () => {
  it("the widget stays brushable, and asking is disabled with a hint", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const model = new MockModel(await traits());
    const widget = exclip();
    widget.initialize({ model });
    const view = new View(widget, model);
    expect(pencil(view).getAttribute("aria-disabled")).toBe("false");
    vi.advanceTimersByTime(11_000);
    vi.useRealTimers();
    await view.settled();
    expect(pencil(view).getAttribute("aria-disabled")).toBe("true");
    expect(view.find("exclip-image_layer").getAttribute("aria-disabled")).toBe("true");
    expect(view.find("exclip-controls").textContent).toContain("needs a running kernel");
    await userEvent.click(pencil(view), { force: true });
    expect(editing(view)).toBe(false);
    await click(view.middle("red"));
    expect(view.pressed).toEqual(["red"]);
    expect(view.find("exclip-test").getAttribute("aria-disabled")).toBe("true");
    // Any word from a kernel brings everything back.
    model.receive({ kind: "here", id: 1 });
    expect(pencil(view).getAttribute("aria-disabled")).toBe("false");
  });

  it("a channel that the host has closed is noticed at once", async () => {
    const { model, view } = await open();
    model.receive({ kind: "here", id: 1 });
    model.send = () => {
      throw new Error("Comm is disposed");
    };
    view.find("exclip-image_layer").focus();
    await userEvent.keyboard("{ArrowRight}");
    expect(view.find("exclip-image_layer").getAttribute("aria-disabled")).toBe("true");
  });

  it("state without choices, as a file of its own, has no controls for asking", async () => {
    const given = await traits();
    delete given._choices;
    const model = new MockModel(given);
    const view = await new View(exclip(), model).settled();
    expect(view.find("exclip-controls").hidden).toBe(true);
    expect(view.el.querySelector<HTMLElement>(".exclip-line-tools")?.hidden).toBe(true);
    expect(center(view.find("exclip-test"))).toEqual([0, 0]);
  });
});

describe("everybody", () => {
  const TEST = { id: 1, tokens: [2], region: [], predicted: 0.1, actual: 0.1, label: "red" };

  it("reaches everything that asks with the Tab key", async () => {
    const { view } = await open({ tokens: [2], _tests: [TEST] });
    const reached = new Set<Element | null>();
    for (let i = 0; i < 40; i++) {
      await userEvent.tab();
      reached.add(document.activeElement);
    }
    const wanted = [
      pencil(view),
      view.el.querySelector(".exclip-add"),
      view.find("exclip-choose"),
      view.find("exclip-test"),
      view.find("exclip-untest"),
      view.el.querySelector("button.exclip-trial"),
      view.find("exclip-controls").querySelector("button"),
      view.find("exclip-image_layer"),
      view.find("exclip-text_layer"),
    ];
    for (const node of wanted) expect(reached).toContain(node);
  });

  it("hears what each control is called", async () => {
    const { view } = await open({ foil: "a dog", _foil_tokens: tokensOf("a dog"), _tests: [TEST] });
    await userEvent.click(pencil(view));
    for (const node of view.el.querySelectorAll("button, textarea, [role=slider], [role=group]")) {
      const name = node.getAttribute("aria-label") ?? node.textContent;
      expect(name, node.outerHTML).toBeTruthy();
    }
  });

  it("sees the same in two views of one widget", async () => {
    const { model, widget, view } = await open();
    const other = await new View(widget, model).settled();
    const at = (one: View) => one.find("exclip-image_layer").getAttribute("aria-valuenow");
    view.find("exclip-image_layer").focus();
    await userEvent.keyboard("{ArrowRight}");
    expect(at(other)).toBe("3");
    refuse(model, "no such layer");
    expect(at(other)).toBe("2");
    expect(other.find("exclip-refused-control").textContent).toBe("no such layer");
    await userEvent.click(pencil(other));
    expect(editing(view)).toBe(false);
  });

  it("finds room at 360 px", async () => {
    const { view } = await open({
      foil: "a small dog",
      _foil_tokens: tokensOf("a small dog"),
      _pairs: [
        [0, 0],
        [1, 1],
        [2, 2],
        [3, 3],
        [4, 4],
      ],
      _tests: [TEST],
    });
    view.el.style.width = "360px";
    await view.settled();
    await userEvent.click(pencil(view));
    const { right } = view.root.getBoundingClientRect();
    for (const node of view.root.querySelectorAll("button, textarea, [role=slider], svg")) {
      expect(node.getBoundingClientRect().right, node.outerHTML).toBeLessThanOrEqual(right);
    }
  });
});
