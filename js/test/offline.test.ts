import { describe, expect, it, vi } from "vitest";
import { userEvent } from "vitest/browser";
import exclip from "../main.ts";
import { center, click, open, traits, View } from "../testing/harness.ts";
import { MockModel } from "../testing/mock.ts";

const pencil = (view: View, part = "caption") =>
  view
    .find(`exclip-line-${part}`)
    .querySelector<HTMLElement>(`[aria-label="Edit the ${part}"]`) as HTMLElement;
const editing = (view: View) => view.el.querySelector("textarea") !== null;

describe("without a kernel", () => {
  it("selecting still works, and asking is disabled with a hint", async () => {
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
    // Any message from a kernel brings everything back.
    model.receive({ kind: "alive" });
    expect(pencil(view).getAttribute("aria-disabled")).toBe("false");
  });

  it("a channel that the host has closed is noticed at once", async () => {
    const { model, view } = await open();
    model.receive({ kind: "alive" });
    model.send = () => {
      throw new Error("Comm is disposed");
    };
    view.find("exclip-image_layer").focus();
    await userEvent.keyboard("{ArrowRight}");
    expect(view.find("exclip-image_layer").getAttribute("aria-disabled")).toBe("true");
  });

  it("state without choices, as in a file of its own, has no controls for asking", async () => {
    const given = await traits();
    delete given._choices;
    const model = new MockModel(given);
    const view = await new View(exclip(), model).settled();
    expect(view.find("exclip-controls").hidden).toBe(true);
    expect(view.el.querySelector<HTMLElement>(".exclip-line-tools")?.hidden).toBe(true);
    expect(center(view.find("exclip-test"))).toEqual([0, 0]);
    // Neither with a key nor with a double click.
    const word = view.words[1];
    word?.focus();
    word?.dispatchEvent(new MouseEvent("dblclick", { bubbles: true }));
    await userEvent.keyboard("{F2}");
    expect(editing(view)).toBe(false);
  });
});
