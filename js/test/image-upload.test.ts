import { describe, expect, it, vi } from "vitest";
import { userEvent } from "vitest/browser";
import { missAnswer, open, type View } from "../testing/harness.ts";
import type { MockModel } from "../testing/mock.ts";

describe("another image", () => {
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
    expect(new Set(sent.map(({ question }) => question)).size).toBe(1);
    expect(view.el.textContent).toContain(name);
    expect(view.el.querySelector("img[onerror]")).toBeNull();
    model.receive({ kind: "accepted", question: sent[0]?.question });
    expect(view.el.textContent).not.toContain(name);
  });

  it("can be pasted", async () => {
    const { model, view } = await open();
    const clipboardData = new DataTransfer();
    clipboardData.items.add(file("image", "pasted.png"));
    view.canvas.dispatchEvent(
      new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true }),
    );
    await expect.poll(() => uploads(model)[0]?.name).toBe("pasted.png");
  });

  it("is not pasted in place of text that is copied together with a picture of it", async () => {
    const { model, view } = await open();
    view.el.querySelector<HTMLElement>("[aria-label='Edit the caption']")?.click();
    const paste = (node: HTMLElement, name: string, text?: string) => {
      const clipboardData = new DataTransfer();
      if (text) clipboardData.setData("text/plain", text);
      clipboardData.items.add(file("image", name));
      return node.dispatchEvent(
        new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true }),
      );
    };
    const field = view.find("exclip-field-caption");
    expect(paste(field, "cells.png", "two dogs")).toBe(true);
    // Without text, there is only the picture to paste; and a file may come with its name as text.
    expect(paste(field, "picture.png")).toBe(false);
    expect(paste(view.canvas, "dog.png", "dog.png")).toBe(false);
    await expect.poll(() => uploads(model).at(-1)?.name).toBe("dog.png");
    expect(uploads(model).map(({ name }) => name)).not.toContain("cells.png");
  });

  it("can be chosen", async () => {
    const { model, view } = await open();
    await userEvent.upload(view.find("exclip-file"), file("image", "chosen.png"));
    await expect.poll(() => uploads(model)[0]?.name).toBe("chosen.png");
  });

  it("is refused above 32 MiB before anything is sent", async () => {
    const { model, view } = await open();
    drop(view, file(new Uint8Array(33 * MIB), "huge.png"));
    await expect.poll(() => view.find("exclip-refused-image").textContent).toContain("33 MiB");
    expect(uploads(model)).toEqual([]);
  });

  it("refused by Python shows why in place, and the old one stays", async () => {
    const { model, view } = await open();
    const shown = view.el.querySelector("img")?.src;
    drop(view, file("<svg/>", "drawing.svg"));
    await expect.poll(() => uploads(model).length).toBe(1);
    model.receive({
      kind: "refused",
      question: uploads(model)[0]?.question,
      message: "drawing.svg is an SVG, which has no pixels.",
    });
    expect(view.find("exclip-refused-image").textContent).toContain("no pixels");
    expect(view.el.querySelector("img")?.src).toBe(shown);
  });

  it("is no longer sent once a newer one replaces it", async () => {
    const { model, view } = await open();
    drop(view, file(new Uint8Array(20 * MIB), "first.png"));
    drop(view, file(new Uint8Array(MIB), "second.png"));
    await expect
      .poll(() => uploads(model).filter(({ name }) => name === "second.png").length)
      .toBe(1);
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(uploads(model).filter(({ name }) => name === "first.png").length).toBeLessThan(5);
  });

  describe("whose answer does not arrive", () => {
    async function dropped(bytes: number) {
      const { model, view } = await open();
      vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
      model.receive({ kind: "alive" });
      drop(view, file(new Uint8Array(bytes), "dog.png"));
      await expect.poll(() => uploads(model).length).toBe(Math.ceil(bytes / MIB));
      return { model, view };
    }

    it("is sent again from its start, under its number", async () => {
      const { model, view } = await dropped(1.5 * MIB);
      missAnswer(model); // shows only that the kernel is there
      missAnswer(model);
      await expect.poll(() => uploads(model).length).toBe(4);
      vi.useRealTimers();
      const sent = uploads(model);
      expect(sent.slice(2)).toEqual(sent.slice(0, 2));
      expect(view.find("exclip-uploading").textContent).toBe("dog.png · reading…");
      model.receive({ kind: "accepted", question: sent[0]?.question });
      expect(view.find("exclip-uploading").hidden).toBe(true);
      expect(view.find("exclip-choose").ariaDisabled).toBe("false");
    });

    it("counts as lost after a while, and another can be chosen", async () => {
      const { model, view } = await dropped(10);
      for (const times of [1, 2, 2]) {
        missAnswer(model);
        await expect.poll(() => uploads(model).length).toBe(times);
      }
      expect(view.find("exclip-uploading").hidden).toBe(true);
      expect(view.find("exclip-refused-image").textContent).toContain("try again");
      const before = model.sent.length;
      vi.advanceTimersByTime(100_000);
      vi.useRealTimers();
      expect(model.sent.length).toBe(before);
      expect(view.find("exclip-choose").ariaDisabled).toBe("false");
      // It was only late.
      model.receive({ kind: "accepted", question: uploads(model)[0]?.question });
      expect(view.find("exclip-refused-image").hidden).toBe(true);
    });

    it("is not sent over and over to a kernel that is silent", async () => {
      const { model, view } = await dropped(10);
      vi.advanceTimersByTime(600_000);
      vi.useRealTimers();
      await new Promise((resolve) => setTimeout(resolve, 100));
      expect(uploads(model).length).toBe(1);
      expect(view.find("exclip-choose").ariaDisabled).toBe("true");
    });
  });

  it("ignores text that is pasted or dragged", async () => {
    const { model, view } = await open();
    const dataTransfer = new DataTransfer();
    dataTransfer.setData("text/plain", "a boat");
    const over = new DragEvent("dragover", { dataTransfer, bubbles: true, cancelable: true });
    expect(view.canvas.dispatchEvent(over)).toBe(true);
    expect(view.root.classList).not.toContain("exclip-dropping");
    expect(uploads(model)).toEqual([]);
  });
});
