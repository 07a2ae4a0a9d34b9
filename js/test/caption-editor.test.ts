import { describe, expect, it, vi } from "vitest";
import { userEvent } from "vitest/browser";
import {
  accept,
  changesAsked,
  estimate,
  lastChange,
  open,
  PATCHES,
  range,
  refuse,
  result,
  sum,
  type View,
} from "../testing/harness.ts";
import { type MockModel, tokensOf } from "../testing/mock.ts";

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

/** What the kernel does with a caption that it accepts. */
const take = (model: MockModel, caption: string, id: number) =>
  model.begin(id, { caption, _tokens: tokensOf(caption) });

describe("editing the caption", () => {
  it("happens in place, and Enter asks", async () => {
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
    expect(lastChange(model).changes).toEqual({ caption: "a blue boat" });
    accept(model);
    take(model, "a blue boat", 2);
    expect(editing(view)).toBe(false);
    expect(view.words.map((node) => node.textContent)).toEqual(["a", "blue", "boat"]);
    await expect.poll(() => document.activeElement === pencil(view)).toBe(true);
  });

  it("starts with a double click or F2 on the words, or Enter on the pencil", async () => {
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

  it("is cancelled by Esc, asks nothing, and keeps the selection", async () => {
    const { model, view } = await open({ tokens: [2] });
    await userEvent.click(pencil(view));
    await userEvent.keyboard("xyz{Escape}");
    expect(view.words.map((node) => node.textContent)).toEqual(["a", "red", "boat"]);
    expect(changesAsked(model)).toEqual([]);
    expect(model.get("tokens")).toEqual([2]);
  });

  it.each(["a red\nboat", "a red\r\nboat", "a red\rboat"])(
    "asks nothing if %j is left as it is",
    async (caption) => {
      const { model, view } = await open({ caption, _tokens: tokensOf(caption) });
      await userEvent.click(pencil(view));
      await userEvent.keyboard("{Enter}");
      expect(editing(view)).toBe(false);
      await userEvent.click(pencil(view));
      view.canvas.focus();
      expect(editing(view)).toBe(false);
      expect(changesAsked(model)).toEqual([]);
    },
  );

  it("starts with the selected words ready to be replaced", async () => {
    const { model, view } = await open({ tokens: [2] });
    await userEvent.click(pencil(view));
    await userEvent.keyboard("green{Enter}");
    expect(lastChange(model).changes).toEqual({ caption: "a green boat" });
  });

  it("shows a refusal in place, with the old result still on screen", async () => {
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

  it("is refused in place even if another browser was answered meanwhile", async () => {
    const { model, view } = await open();
    await userEvent.click(pencil(view));
    await write(view, "boat ".repeat(90));
    const { question } = lastChange(model);
    // Its page was opened five seconds later, or earlier.
    for (const other of [question + 5000, question - 5000]) accept(model, { question: other });
    expect(editing(view)).toBe(true);
    refuse(model, "The caption has 92 tokens.");
    expect(view.find("exclip-refused-caption").textContent).toBe("The caption has 92 tokens.");
  });

  it("shows exactly the last result after ten quick edits", async () => {
    const { model, view } = await open();
    await userEvent.click(pencil(view));
    for (const n of range(10)) await write(view, `boat number ${n}`);
    const all = changesAsked(model);
    expect(all).toHaveLength(10);
    expect(new Set(all.map(({ question }) => question)).size).toBe(10);
    // Each was begun before the next one; answers trickle in late and out of step.
    all.forEach((change, n) => {
      accept(model, change);
      expect(editing(view)).toBe(n < 9);
      take(model, `boat number ${n}`, n + 2);
    });
    for (const n of range(9)) {
      model.receive(...estimate(n + 2, result(5)));
      model.receive({ kind: "progress", id: n + 2, done: 1, total: 1 });
    }
    expect(view.values()[0]).toBeNaN();
    expect(view.root.dataset.phase).toBe("computing");
    model.receive(...estimate(11, result(5)));
    model.finish(11, {
      _result: result(5),
      _summary: { similarity: 0.25, total: 0.24, residual: 0, error: null },
    });
    expect(view.words.at(-1)?.textContent).toBe("9");
    expect(view.values()[0]).toBeCloseTo(sum([1], range(PATCHES)), 10);
    expect(view.root.dataset.phase).toBe("done");
  });

  it("does not interrupt a user who has gone on typing", async () => {
    const { model, view } = await open();
    await userEvent.click(pencil(view));
    await write(view, "one");
    await userEvent.keyboard(" more");
    accept(model);
    expect(field(view).value).toBe("one more");
  });

  it("asks for one line, whatever was pasted, in any script", async () => {
    const { model, view } = await open({ caption: "قارب أحمر" });
    await userEvent.click(pencil(view));
    expect(getComputedStyle(field(view)).direction).toBe("rtl");
    field(view).value = "قارب\n  أزرق <b>👩‍👧</b>";
    await userEvent.keyboard("{Enter}");
    expect(lastChange(model).changes).toEqual({ caption: "قارب أزرق <b>👩‍👧</b>" });
  });

  it("protects its letters from the shortcuts around it", async () => {
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
