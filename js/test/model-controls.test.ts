import { describe, expect, it } from "vitest";
import { userEvent } from "vitest/browser";
import {
  accept,
  changesAsked,
  click,
  drag,
  estimate,
  lastChange,
  open,
  painted,
  refuse,
  result,
  type View,
} from "../testing/harness.ts";

describe("method and layers", () => {
  const slider = (view: View, which = "image") =>
    view.find<HTMLInputElement>(`exclip-${which}_layer`);

  it("are shown by name", async () => {
    const { view } = await open({ text_layer: "output" });
    expect(slider(view).getAttribute("aria-valuetext")).toBe("visual.transformer.resblocks.2");
    expect(slider(view).max).toBe("6");
    expect(slider(view, "text").getAttribute("aria-valuetext")).toBe("output");
  });

  it("are asked for with each step of the arrow keys, up to the output and no further", async () => {
    const { model, view } = await open();
    slider(view).focus();
    await userEvent.keyboard("{ArrowRight}{End}{ArrowRight}{Home}");
    expect(changesAsked(model).map(({ changes }) => changes.image_layer)).toEqual([3, "output", 0]);
    expect(slider(view).value).toBe("0");
  });

  it("are asked for during a drag, once for each tick", async () => {
    const { model, view } = await open();
    slider(view).scrollIntoView({ block: "center" });
    await painted();
    const { left, top, width, height } = slider(view).getBoundingClientRect();
    // The slider is a little wider than its ticks.
    const at = (tick: number): [number, number] => [
      left + width / 2 + 100 * (tick / 6 - 0.5),
      top + height / 2,
    ];
    await click(at(2));
    await drag([at(2), at(2.2), at(3), at(4), at(6)]);
    const asked = changesAsked(model).map(({ changes }) => changes.image_layer);
    expect(asked).toEqual([3, 4, "output"]);
    expect(new Set(asked).size).toBe(asked.length);
  });

  it("keep the last layer's result on screen, marked as being replaced", async () => {
    const { model, view } = await open();
    const before = view.values();
    slider(view).focus();
    await userEvent.keyboard("{ArrowRight}");
    accept(model);
    model.begin(2, { image_layer: 3 });
    expect(view.values()).toEqual(before);
    expect(view.root.classList).toContain("exclip-stale");
    model.receive(...estimate(2, result(5)));
    expect(view.root.classList).not.toContain("exclip-stale");
  });

  it("go back when a layer is refused, and say why", async () => {
    const { model, view } = await open();
    slider(view).focus();
    await userEvent.keyboard("{ArrowRight}");
    expect(slider(view).value).toBe("3");
    refuse(model, "layer 3 is never run");
    expect(slider(view).value).toBe("2");
    expect(view.find("exclip-refused-control").textContent).toBe("layer 3 is never run");
    await userEvent.keyboard("{ArrowLeft}");
    expect(view.find("exclip-refused-control").hidden).toBe(true);
  });

  it("ignore answers to older questions", async () => {
    const { model, view } = await open();
    slider(view).focus();
    await userEvent.keyboard("{ArrowRight}{ArrowRight}");
    const [first] = changesAsked(model);
    refuse(model, "no", first);
    expect(slider(view).value).toBe("4");
    expect(view.find("exclip-refused-control").hidden).toBe(true);
  });

  it("include the method, chosen with a button that stays pressed", async () => {
    const { model, view } = await open();
    const methods = [...view.find("exclip-controls").querySelectorAll("button")];
    expect(methods.map((node) => node.getAttribute("aria-pressed"))).toEqual([
      "true",
      "false",
      "false",
      "false",
    ]);
    await userEvent.click(methods[2] as HTMLElement);
    expect(lastChange(model).changes).toEqual({ method: "gradient" });
    expect(methods[2]?.getAttribute("aria-pressed")).toBe("true");
    await userEvent.keyboard("{ArrowRight}{Enter}");
    expect(lastChange(model).changes).toEqual({ method: "banzhaf" });
  });
});
