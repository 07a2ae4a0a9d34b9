import axe from "axe-core";
import { describe, expect, it } from "vitest";
import { userEvent } from "vitest/browser";
import { center, click, open, painted } from "../testing/harness.ts";

/** Open everything that can be open, with a selection on both sides. */
async function everything(theme: "light" | "dark", width: number) {
  document.body.dataset.jpThemeLight = String(theme === "light");
  const { view } = await open({ tokens: [2], region: [5, 6] });
  view.el.style.width = `${width}px`;
  view.el.style.background = theme === "light" ? "#fff" : "#111";
  for (const name of ["Pieces", "Appearance", "Table of the numbers"]) {
    await click(center(view.el.querySelector(`button[aria-label="${name}"]`) as Element));
  }
  await expect.poll(() => view.find("exclip-pairs").hidden).toBe(false);
  await painted();
  return view;
}

describe.each(["light", "dark"] as const)("in the %s theme", (theme) => {
  it.each([1000, 360])("has no accessibility violations at %i px", async (width) => {
    const view = await everything(theme, width);
    const { violations } = await axe.run(view.el, {
      runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"],
      // Rules about whole pages: the widget is part of one.
      rules: { region: { enabled: false } },
    });
    expect(
      violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join("\n")}`),
    ).toEqual([]);
  });

  it.each([1000, 360])("nothing overflows at %i px", async (width) => {
    const view = await everything(theme, width);
    const { left, right } = view.root.getBoundingClientRect();
    for (const node of view.root.querySelectorAll("*")) {
      const box = node.getBoundingClientRect();
      if (box.width === 0 || node.closest(".exclip-live")) continue;
      expect(box.left, node.outerHTML.slice(0, 120)).toBeGreaterThanOrEqual(left - 1);
      expect(box.right, node.outerHTML.slice(0, 120)).toBeLessThanOrEqual(right + 1);
    }
  });
});

it("every button can be reached with only Tab and arrow keys", async () => {
  const { view } = await open({ tokens: [2], region: [1] });
  await expect.poll(() => view.find("exclip-pairs").hidden).toBe(false);
  const reached = new Set<Element>();
  for (let stop = 0; stop < 40; stop++) {
    await userEvent.tab();
    const first = document.activeElement;
    if (!first || !view.root.contains(first)) {
      if (reached.size > 0) break;
      continue;
    }
    if (reached.has(first)) break;
    reached.add(first);
    if (first === view.canvas || first instanceof HTMLInputElement) continue;
    for (let step = 0; step < 20; step++) {
      await userEvent.keyboard("{ArrowRight}");
      const now = document.activeElement;
      if (!now || reached.has(now)) break;
      reached.add(now);
    }
  }
  const visible = [...view.root.querySelectorAll("button")].filter(
    (button) => button.getBoundingClientRect().width > 0,
  );
  expect(visible.filter((button) => !reached.has(button)).map((b) => b.outerHTML)).toEqual([]);
});

it("the focused element keeps its keys from JupyterLab", async () => {
  const view = await everything("light", 1000);
  const stops = [...view.root.querySelectorAll<HTMLElement>("button, input, canvas, [tabindex]")];
  const seen = stops.filter((node) => node.checkVisibility());
  expect(seen.length).toBeGreaterThan(20);
  for (const node of seen) {
    node.focus();
    expect(document.activeElement, node.outerHTML).toBe(node);
    // The check that Lumino makes before it looks for a command of this very element.
    expect(node.hasAttribute("data-lm-suppress-shortcuts"), node.outerHTML).toBe(true);
  }
});

/** Say for each key pressed on `node` whether JupyterLab may take it. */
async function takenFrom(node: Element, ...keys: KeyboardEventInit[]): Promise<boolean[]> {
  const taken: boolean[] = [];
  // The check that Lumino makes.
  const keeps = () => node.closest("[data-lm-suppress-shortcuts]") !== null;
  for (const init of keys) {
    let isTaken = false;
    const listen = () => {
      isTaken = !keeps();
    };
    document.addEventListener("keydown", listen);
    node.dispatchEvent(new KeyboardEvent("keydown", { ...init, bubbles: true }));
    document.removeEventListener("keydown", listen);
    taken.push(isTaken);
    await new Promise((resolve) => setTimeout(resolve));
    expect(keeps()).toBe(true);
  }
  return taken;
}
const SAVING = [
  { key: "s", ctrlKey: true },
  { key: "s", metaKey: true },
  { key: "S", ctrlKey: true },
];

it("saving is left to JupyterLab, wherever the focus is", async () => {
  const view = await everything("light", 1000);
  const stops = [...view.root.querySelectorAll<HTMLElement>("button, input, canvas, [tabindex]")];
  for (const node of stops) node.focus();
  for (const node of stops) {
    if (!node.checkVisibility()) continue;
    expect(await takenFrom(node, { key: "s" }, ...SAVING), node.outerHTML).toEqual([
      false,
      true,
      true,
      true,
    ]);
  }
});

it("saving is left to JupyterLab while a caption is edited", async () => {
  const { view } = await open();
  await userEvent.click(view.el.querySelector('[aria-label="Edit the caption"]') as Element);
  const field = view.find("exclip-field-caption");
  expect(await takenFrom(field, { key: "s" }, ...SAVING)).toEqual([false, true, true, true]);
});
