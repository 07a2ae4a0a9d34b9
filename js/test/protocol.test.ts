/** The fixtures that pytest also reads: what either side may send, and the states in between. */
import { describe, expect, it, vi } from "vitest";
import { userEvent } from "vitest/browser";
import fromKernel from "../../tests/protocol/from_kernel.json";
import states from "../../tests/protocol/state.json";
import toKernel from "../../tests/protocol/to_kernel.json";
import listed from "../captions.ts";
import exclip from "../main.ts";
import { readMessage, type Traits } from "../protocol.ts";
import { open, stateOf, View } from "../testing/harness.ts";
import { MockModel, tokensOf } from "../testing/mock.ts";

describe("messages from the kernel", () => {
  const buffers = (lengths: readonly number[]) =>
    lengths.map((length) => new DataView(new ArrayBuffer(length)));

  it.each(fromKernel.valid)("reads: $name", ({ content, buffers: lengths }) => {
    expect(readMessage(content, buffers(lengths))).toEqual(content);
  });

  it.each(fromKernel.invalid)("refuses: $name", ({ content, buffers: lengths }) => {
    expect(readMessage(content, buffers(lengths))).toBeNull();
  });

  it.each(["anywidget-command-response", "toString"])("leaves %s to other libraries", (kind) => {
    expect(readMessage({ kind, id: 1, question: 1 })).toBeNull();
  });
});

describe("messages to the kernel", () => {
  /** Return the first message that `act` makes the widget send, after its greeting. */
  async function sent(changes: Partial<Traits>, act: (view: View, model: MockModel) => unknown) {
    // Question numbers count up from the current time: the first one is 7.
    vi.spyOn(Date, "now").mockReturnValue(6);
    const { model, view } = await open(changes);
    vi.mocked(Date.now).mockRestore();
    model.sent.length = 0;
    model.buffers.length = 0;
    await act(view, model);
    await expect.poll(() => model.sent.length).toBeGreaterThan(0);
    return {
      content: model.sent[0],
      buffers: model.buffers[0]?.map(({ byteLength }) => byteLength) ?? [],
    };
  }
  const named = (name: string) => {
    const found = toKernel.valid.find((one) => one.name === name);
    if (!found) throw new Error(`no fixture ${name}`);
    const { content, buffers } = found;
    return { content, buffers };
  };
  const press = (label: string) => (view: View) =>
    view.el.querySelector<HTMLElement>(`[aria-label="${label}"]`)?.click();
  const write = (label: string, text: string) => async (view: View) => {
    press(label)(view);
    await userEvent.keyboard(`{Control>}a{/Control}${text}{Enter}`);
  };
  const slide = (which: string, key: string) => (view: View) => {
    view.find(`exclip-${which}_layer`).focus();
    return userEvent.keyboard(`{${key}}`);
  };
  const choose = (size: number) => (view: View) =>
    userEvent.upload(view.find("exclip-file"), new File([new Uint8Array(size)], "cat.png"));
  const foiled = { foil: "a dog", _foil_tokens: tokensOf("a dog") };
  const test = (view: View) => view.find("exclip-test").click();
  const MIB = 2 ** 20;

  it.each<[string, Partial<Traits>, (view: View, model: MockModel) => unknown]>([
    [
      "join, and send all of the state again",
      { _revision: 2 },
      (_, model) => model.set("_revision", 1),
    ],
    [
      "cancel",
      { _request: { id: 2, phase: "computing", message: "" } },
      (view) => view.find("exclip-cancel").click(),
    ],
    ["change the caption", {}, write("Edit the caption", "a blue boat")],
    ["change the foil", {}, write("Compare with a foil", "a blue boat")],
    ["remove the foil", foiled, press("Remove the foil")],
    [
      "change the method",
      {},
      (view) => view.el.querySelector<HTMLElement>("button[value=gradient]")?.click(),
    ],
    ["change the text layer", {}, slide("text", "ArrowRight")],
    ["change the image layer", {}, slide("image", "Home")],
    ["change the text layer to the output", {}, slide("text", "End")],
    ["change the image layer to the output", {}, slide("image", "End")],
    ["upload a whole file", {}, choose(12)],
    ["upload the first part of a file", {}, choose(MIB + 3)],
    ["test words and patches", { tokens: [1, 2], region: [0, 3] }, test],
    ["test words alone", { tokens: [1, 2] }, test],
    ["test patches alone", { region: [0, 3] }, test],
    [
      "clear the tests",
      { _tests: [{ id: 1, tokens: [1], region: [], predicted: 0, actual: 0, label: "a" }] },
      (view) => view.find("exclip-untest").click(),
    ],
  ])("are as written down: %s", async (name, changes, act) => {
    expect(await sent(changes, act)).toEqual(named(name));
  });

  it("match the fixtures: join", async () => {
    const { model } = await open();
    expect({ content: model.sent[0], buffers: model.buffers[0] }).toEqual(named("join"));
  });

  it("match the fixtures: the last part of an upload", async () => {
    await sent({}, async (view, model) => {
      await choose(MIB + 3)(view);
      await expect.poll(() => model.sent.length).toBe(2);
      const buffers = model.buffers[1]?.map(({ byteLength }) => byteLength);
      expect({ content: model.sent[1], buffers }).toEqual(named("upload the last part of a file"));
    });
  });
});

describe("states", () => {
  it.each(states.valid)("are shown: $name", async ({ state }) => {
    const model = new MockModel(stateOf(state));
    const widget = (state.captions.length > 0 ? listed : exclip)();
    widget.initialize({ model });
    const view = await new View(widget, model).settled();
    const { phase, message } = state._request;
    expect(view.root.dataset.phase).toBe(phase);
    expect(view.find("exclip-error").textContent).toBe(phase === "error" ? message : "");
    expect(view.find("exclip-progress").hidden).toBe(phase !== "computing");
    expect(view.words.map((node) => node.textContent)).toEqual(["a", "red", "boat"]);
    expect(Number.isNaN(view.values()[0])).toBe(state._result.base64 === "");
    expect(view.el.querySelector("img")?.naturalWidth).toBe(6);
    const foil = view.find("exclip-line-foil").querySelector(".exclip-still .exclip-word");
    expect(foil?.textContent).toBe(state.foil === null ? undefined : "a");
    expect(view.find("exclip-line-difference").hidden).toBe(state.foil === null);
    expect(view.el.querySelectorAll("button.exclip-trial")).toHaveLength(state._tests.length);
    if (state._summary) expect(view.figure("similarity")).toBe(state._summary.similarity);
    if (phase === "cancelled") {
      expect(view.find("exclip-notice").textContent).toMatch(/^Cancelled\./);
    } else if (phase === "idle") {
      expect(view.find("exclip-notice").textContent).toBe(message);
    } else {
      expect(view.find("exclip-notice").hidden).toBe(!state._summary?.error);
    }
    const rows = [...view.el.querySelectorAll("[role=option]")];
    expect(rows).toHaveLength(state.captions.length);
    const { rule = null } = state._scores ?? {};
    expect(rows.every((row) => row.textContent?.includes(`${rule} probability`))).toBe(
      rule !== null || rows.length === 0,
    );
    expect(view.find("exclip-controls").hidden).toBe(state._choices === null);
    expect(model.sent).toEqual([{ kind: "join" }]);
  });
});
