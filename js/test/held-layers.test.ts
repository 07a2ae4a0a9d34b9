/** Results at other layers that the browser holds: a slider shows them without asking. */
import { describe, expect, it, vi } from "vitest";
import { userEvent } from "vitest/browser";
import type { Layer, Traits } from "../protocol.ts";
import {
  accept,
  CAPTION,
  changesAsked,
  entry,
  lastChange,
  open,
  PATCHES,
  painted,
  range,
  refuse,
  sum,
  View,
} from "../testing/harness.ts";
import { type MockModel, payload, tokensOf } from "../testing/mock.ts";

const [TOKENS, REST_MS] = [5, 200];
const FISH = { foil: "a fish", _foil_tokens: tokensOf("a fish"), _foil_result: at(1, 4) };
const ALIGNED: Traits["_alignment"] = [
  [0, 0],
  [1, 1],
  [2, 2],
  [3, null],
  [4, 3],
];

/** Return the example's result, this many times as strong. */
function at(strength: number, tokens = TOKENS): DataView {
  return payload(
    range(tokens * PATCHES).map((i) => strength * entry(Math.floor(i / PATCHES), i % PATCHES)),
    range(tokens).map(() => 0),
  );
}

const summary = (similarity: number) => ({ similarity, total: null, residual: null, error: null });

function hold(model: MockModel, layer: Layer, strength: number, id = 0, ...foil: DataView[]): void {
  const layers = { text_layer: 0, image_layer: layer };
  model.receive(
    { kind: "layer", id, ...layers, _summary: summary(strength / 10) },
    at(strength),
    ...foil,
  );
}

const slider = (view: View, which = "image") =>
  view.find<HTMLInputElement>(`exclip-${which}_layer`);

/** Move a slider as a hand would. */
function slide(view: View, layer: number, which?: string): void {
  slider(view, which).value = String(layer);
  slider(view, which).dispatchEvent(new Event("input"));
}

async function held(changes: Partial<Traits> = {}) {
  const opened = await open(changes);
  range(5).forEach((layer) => void hold(opened.model, layer, layer - 1));
  return opened;
}

const word = (strength: number) => strength * sum([2], range(PATCHES));
const rest = () => new Promise((done) => setTimeout(done, 1.5 * REST_MS));

describe("a held layer", () => {
  it("shows its own numbers at once, everywhere, and sends nothing", async () => {
    const { model, view } = await held();
    const sent = model.sent.length;
    const before = view.pixels();
    slide(view, 0);
    expect(view.values()[1]).toBeCloseTo(word(-1), 6);
    expect(view.figure("similarity")).toBe(-0.1);
    expect(Number(view.canvas.dataset.scale)).toBeGreaterThan(0);
    expect(slider(view).getAttribute("aria-valuetext")).toBe("visual.transformer.resblocks.0");
    expect(view.root.classList).not.toContain("exclip-stale");
    expect(view.root.dataset.phase).toBe("done");
    expect(model.sent).toHaveLength(sent);
    await painted();
    expect(view.pixels()).not.toBe(before);
  });

  it("is reported once the slider has come to rest, and the kernel follows", async () => {
    const { model, view } = await held();
    for (const layer of [3, 4, 3, 0]) slide(view, layer);
    expect(changesAsked(model)).toEqual([]);
    await rest();
    expect(changesAsked(model).map(({ changes }) => changes)).toEqual([{ image_layer: 0 }]);
    expect(view.values()[1]).toBeCloseTo(word(-1), 6);
    model.update({ image_layer: 0, _result: at(-1), _summary: summary(-0.1) });
    accept(model);
    expect(view.values()[1]).toBeCloseTo(word(-1), 6);
    expect(slider(view).value).toBe("0");
    model.update({ image_layer: 3, _result: at(2), _summary: summary(0.2) });
    expect(view.values()[1]).toBeCloseTo(word(2), 6);
  });

  it.each<[string, (view: View) => unknown]>([
    [
      "an image is being sent",
      (view) => userEvent.upload(view.find("exclip-file"), new File(["an image"], "cat.png")),
    ],
    [
      "another method has been asked for",
      (view) => view.find("exclip-controls").querySelector<HTMLElement>("[value=banzhaf]")?.click(),
    ],
    ["a test runs", (view) => view.find("exclip-test").click()],
  ])("does not hide the kernel's newer one while %s", async (_, ask) => {
    const { model, view } = await held({ tokens: [2] });
    slide(view, 0);
    await rest();
    const asked = lastChange(model);
    const sent = model.sent.length;
    await ask(view);
    await vi.waitFor(() => expect(model.sent.length).toBeGreaterThan(sent));
    model.update({ image_layer: 0, _result: at(-1), _summary: summary(-0.1) });
    accept(model, asked);
    expect(slider(view).value).toBe("0");
    // Another browser scrubs.
    model.update({ image_layer: 3, _result: at(2), _summary: summary(0.2) });
    expect(slider(view).value).toBe("3");
    expect(view.values()[1]).toBeCloseTo(word(2), 6);
  });

  it("stays if the answer arrives before the traits, as in JupyterLab", async () => {
    const { model, view } = await held();
    slide(view, 4);
    await rest();
    accept(model);
    expect(view.values()[1]).toBeCloseTo(word(3), 6);
    model.update({ image_layer: 4, _result: at(3), _summary: summary(0.3) });
    expect(view.values()[1]).toBeCloseTo(word(3), 6);
  });

  it("stays if the slider moves on while the kernel follows", async () => {
    const { model, view } = await held();
    slide(view, 3);
    await rest();
    slide(view, 4);
    model.update({ image_layer: 3, _result: at(2), _summary: summary(0.2) });
    accept(model);
    expect(slider(view).value).toBe("4");
    expect(view.values()[1]).toBeCloseTo(word(3), 6);
    await rest();
    expect(lastChange(model).changes).toEqual({ image_layer: 4 });
  });

  it("brings the foil and the difference with it", async () => {
    const { model, view } = await open({ ...FISH, _alignment: ALIGNED });
    hold(model, 4, 3, 0, at(5, 4));
    slide(view, 4);
    view.el.querySelector<HTMLElement>("[data-look=foil]")?.click();
    expect(view.values()[1]).toBeCloseTo(5 * sum([2], range(PATCHES)), 6);
    view.el.querySelector<HTMLElement>("[data-look=difference]")?.click();
    expect(view.values()[0]).toBeCloseTo(-2 * sum([1], range(PATCHES)), 6);
  });

  it("shows no masking test of another layer's result", async () => {
    const test = { id: 1, tokens: [1], region: [], predicted: 0.1, actual: 0.2, label: "a" };
    const { view } = await held({ _tests: [test] });
    slide(view, 4);
    expect(view.el.querySelectorAll("button.exclip-trial")).toHaveLength(0);
  });

  it("keeps the selection", async () => {
    const { view } = await held({ tokens: [2], region: [0, 1] });
    slide(view, 4);
    expect(view.pressed).toEqual(["red"]);
    expect(view.figure("selection")).toBeCloseTo(3 * sum([2], [0, 1]), 6);
  });

  it("is the same in two views", async () => {
    const { model, widget, view } = await held();
    const other = await new View(widget, model).settled();
    slide(other, 4);
    expect(view.values()).toEqual(other.values());
    expect(slider(view).value).toBe("4");
  });

  it("can be reached from the keyboard", async () => {
    const { model, view } = await held();
    // Listens after the widget: on a busy machine, the key press may return only once the slider rests.
    const asked: number[] = [];
    slider(view).addEventListener("input", () => asked.push(changesAsked(model).length));
    slider(view).focus();
    await userEvent.keyboard("{ArrowRight}");
    expect(view.values()[1]).toBeCloseTo(word(2), 6);
    expect(asked).toEqual([0]);
  });
});

describe("a layer that is not held", () => {
  it("is asked for at once, together with the other slider's position", async () => {
    const { model, view } = await held();
    model.receive(
      { kind: "layer", id: 0, text_layer: 1, image_layer: 2, _summary: summary(0.7) },
      at(7),
    );
    slide(view, 1, "text");
    expect(view.values()[1]).toBeCloseTo(word(7), 6);
    slide(view, 5);
    expect(changesAsked(model).map(({ changes }) => changes)).toEqual([
      { text_layer: 1, image_layer: 5 },
    ]);
    await rest();
    expect(changesAsked(model)).toHaveLength(1);
  });

  it.each<[string, (model: MockModel) => void]>([
    ["of an older request", (model) => model.finish(1, { caption: CAPTION })],
    ["of a newer one, whose traits have not arrived", (model) => hold(model, 3, 9, 7)],
  ])("is asked for even if held for a result %s", async (_, happen) => {
    const { model, view } = await held();
    happen(model);
    slide(view, 4);
    expect(changesAsked(model).map(({ changes }) => changes)).toEqual([{ image_layer: 4 }]);
  });

  it("may be refused, and then the kernel's own layer is back", async () => {
    const { model, view } = await held();
    slide(view, 4);
    await rest();
    refuse(model, "layer 4 is never run");
    expect(slider(view).value).toBe("2");
    expect(view.values()[1]).toBeCloseTo(word(1), 6);
    expect(view.find("exclip-refused-control").textContent).toBe("layer 4 is never run");
  });

  it("may have been held, if the kernel has to compute it after all", async () => {
    const { model, view } = await held();
    slide(view, 4);
    await rest();
    model.begin(1, { image_layer: 4 });
    accept(model);
    expect(view.root.dataset.phase).toBe("computing");
    expect(view.root.classList).toContain("exclip-stale");
    model.finish(1, { _result: at(8), _summary: summary(0.8) });
    expect(view.values()[1]).toBeCloseTo(word(8), 6);
  });

  it("asks again if the connection was lost", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const { model, view } = await held().finally(() => vi.useRealTimers());
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    slide(view, 4);
    vi.advanceTimersByTime(REST_MS + 10_000);
    vi.useRealTimers();
    expect(changesAsked(model).map(({ changes }) => changes)).toEqual([
      { image_layer: 4 },
      { image_layer: 4 },
    ]);
    expect(view.values()[1]).toBeCloseTo(word(3), 6);
  });
});
