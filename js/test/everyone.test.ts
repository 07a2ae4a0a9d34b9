import { describe, expect, it, vi } from "vitest";
import { userEvent } from "vitest/browser";
import { open, painted, refuse, View } from "../testing/harness.ts";
import { tokensOf } from "../testing/mock.ts";

const pencil = (view: View, part = "caption") =>
  view
    .find(`exclip-line-${part}`)
    .querySelector<HTMLElement>(`[aria-label="Edit the ${part}"]`) as HTMLElement;
const editing = (view: View) => view.el.querySelector("textarea") !== null;

describe("every user", () => {
  const TEST = { id: 1, tokens: [2], region: [], predicted: 0.1, actual: 0.1, label: "red" };

  it("reaches every control with the Tab key", async () => {
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

  it("hears the name of each control", async () => {
    const { view } = await open({ foil: "a dog", _foil_tokens: tokensOf("a dog"), _tests: [TEST] });
    await userEvent.click(pencil(view));
    for (const node of view.el.querySelectorAll(
      "button, textarea, input[type=range], [role=group]",
    )) {
      const name = node.getAttribute("aria-label") ?? node.textContent;
      expect(name, node.outerHTML).toBeTruthy();
    }
  });

  it("hears an alert once, whatever else is asked meanwhile", async () => {
    const { model, view } = await open();
    view.find("exclip-image_layer").focus();
    await userEvent.keyboard("{ArrowRight}");
    refuse(model, "no such layer");
    const alert = view.find("exclip-refused-control");
    const written = vi.fn();
    const observer = new MutationObserver(written);
    observer.observe(alert, { childList: true, characterData: true, subtree: true });
    await userEvent.click(pencil(view));
    await userEvent.keyboard("x{Enter}");
    expect(alert.textContent).toBe("no such layer");
    await painted();
    expect(written).not.toHaveBeenCalled();
    observer.disconnect();
  });

  it("sees the same layers in two views of one widget", async () => {
    const { model, widget, view } = await open();
    const other = await new View(widget, model).settled();
    const at = (one: View) => one.find<HTMLInputElement>("exclip-image_layer").value;
    view.find("exclip-image_layer").focus();
    await userEvent.keyboard("{ArrowRight}");
    expect(at(other)).toBe("3");
    refuse(model, "no such layer");
    expect(at(other)).toBe("2");
    expect(other.find("exclip-refused-control").textContent).toBe("no such layer");
    await userEvent.click(pencil(other));
    expect(editing(view)).toBe(false);
  });

  it.each([360, 280, 240])("has enough room at %i px", async (width) => {
    const { view } = await open({
      foil: "a small dog",
      _foil_tokens: tokensOf("a small dog"),
      _alignment: [
        [0, 0],
        [1, 1],
        [2, 2],
        [3, 3],
        [4, 4],
      ],
      _tests: [TEST],
    });
    view.el.style.width = `${width}px`;
    await view.settled();
    const { right } = view.root.getBoundingClientRect();
    for (const node of view.root.querySelectorAll(".exclip-number, .exclip-pair-value")) {
      const digits = document.createRange();
      digits.selectNodeContents(node);
      expect(digits.getBoundingClientRect().right, node.outerHTML).toBeLessThanOrEqual(right);
    }
    await userEvent.click(pencil(view));
    for (const node of view.root.querySelectorAll("button, textarea, input[type=range], svg")) {
      expect(node.getBoundingClientRect().right, node.outerHTML).toBeLessThanOrEqual(right);
    }
  });
});
