import { describe, expect, it } from "vitest";
import { userEvent } from "vitest/browser";
import { center, drag, open, painted, type View } from "../testing/harness.ts";

const tip = (view: View) => view.root.querySelector<HTMLElement>(".exclip-tip") as HTMLElement;
const isOpen = (view: View) => tip(view).matches(":popover-open");
const tool = (view: View, name: string) =>
  view.root.querySelector<HTMLElement>(`[aria-label="${name}"]`) as HTMLElement;

describe("a hint", () => {
  it("appears when the pointer rests, and disappears when it leaves", async () => {
    const { view } = await open();
    await userEvent.hover(tool(view, "Lasso"));
    expect(isOpen(view)).toBe(false);
    await expect.poll(() => isOpen(view)).toBe(true);
    expect(tip(view).textContent).toBe("Draw around patches (L)");
    await userEvent.hover(view.canvas);
    await expect.poll(() => isOpen(view)).toBe(false);
  });

  it("stays while the pointer is over it", async () => {
    const { view } = await open();
    const lasso = tool(view, "Lasso");
    await userEvent.hover(lasso);
    await expect.poll(() => isOpen(view)).toBe(true);
    await drag([center(lasso), center(tip(view))], []);
    await new Promise((resolve) => setTimeout(resolve, 600));
    expect(isOpen(view)).toBe(true);
    await drag([[0, 0]]);
    await expect.poll(() => isOpen(view)).toBe(false);
  });

  it("is dismissed by Escape, which clears the selection only when pressed again", async () => {
    const { model, view } = await open({ tokens: [1] });
    await userEvent.hover(tool(view, "Lasso"));
    await expect.poll(() => isOpen(view)).toBe(true);
    view.words[0]?.focus();
    await userEvent.keyboard("{Escape}");
    expect(isOpen(view)).toBe(false);
    expect(model.get("tokens")).toEqual([1]);
    await userEvent.keyboard("{Escape}");
    expect(model.get("tokens")).toEqual([]);
  });

  it("appears for keyboard users, and describes the focused element", async () => {
    const { view } = await open();
    const first = tool(view, "Box");
    while (document.activeElement !== first) await userEvent.tab();
    await expect.poll(() => isOpen(view)).toBe(true);
    const id = first.getAttribute("aria-describedby") ?? "";
    expect(document.getElementById(id)?.textContent).toBe("Click a patch or drag a box (B)");
    await userEvent.keyboard("{ArrowRight}");
    await expect.poll(() => tip(view).textContent).toContain("Paint over patches");
    expect(first.hasAttribute("aria-describedby")).toBe(false);
  });

  it("is up to date after a click", async () => {
    const { view } = await open({ tokens: [2] });
    const lock = tool(view, "Lock this scale");
    await userEvent.hover(lock);
    await expect.poll(() => tip(view).textContent).toContain("Follows the selection");
    await userEvent.click(lock);
    await expect.poll(() => tip(view).textContent).toContain("Locked at");
  });

  it("lies within the widget, at any width", async () => {
    for (const width of [1000, 360]) {
      const { view } = await open({ tokens: [2], region: [1] });
      view.el.style.width = `${width}px`;
      await painted();
      const { left, right } = view.root.getBoundingClientRect();
      const tools = [...view.root.querySelectorAll<HTMLElement>("[data-hint]")]
        .filter((node) => node.getBoundingClientRect().width > 0)
        .sort((a, b) => center(a)[0] - center(b)[0]);
      for (const one of [...tools.slice(0, 2), ...tools.slice(-3)]) {
        one.scrollIntoView({ block: "center" });
        await userEvent.hover(one);
        await expect.poll(() => isOpen(view) && tip(view).textContent).toBe(one.dataset.hint);
        const box = tip(view).getBoundingClientRect();
        expect(box.left, one.outerHTML).toBeGreaterThanOrEqual(left);
        expect(box.right, one.outerHTML).toBeLessThanOrEqual(right);
        expect(box.top, one.outerHTML).toBeGreaterThanOrEqual(0);
      }
      view.close();
    }
  });
});

it("the canvas has its keys as a description, and a short name", async () => {
  const { view } = await open();
  expect(view.canvas.getAttribute("aria-label")).toBe("Image");
  const keys = document.getElementById(view.canvas.getAttribute("aria-describedby") ?? "");
  expect(keys?.textContent).toContain("arrow keys and Enter. Shift adds");
});
