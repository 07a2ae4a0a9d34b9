/** A file of its own: what `page.ts` makes of the blocks of JSON that Python writes into it. */
import { afterEach, expect, it, vi } from "vitest";
import states from "../../tests/protocol/state.json";
import { box, element } from "../ui/dom.ts";

const valid = new Map(states.valid.map(({ name, state }) => [name, state]));
const stateOf = (name: string): object => ({ ...valid.get(name), _choices: undefined });

/** An image of one pixel. */
const PIXEL =
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

function figure(state: object): HTMLElement {
  const block = element("script", "", { type: "application/json" }, JSON.stringify(state));
  const node = document.createElement("figure");
  node.append(block, box("", "beneath"));
  document.body.append(node);
  return node;
}

afterEach(() => document.body.replaceChildren());

it("each figure is a widget of its own, and none of them asks a kernel", async () => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  const one = figure({ ...stateOf("done, without a foil"), _image: { base64: PIXEL } });
  const other = figure(stateOf("done, with a foil"));
  const third = figure({ ...stateOf("done, without a foil"), _image: { of: 0 } });
  const list = figure(stateOf("done, two of a list, by a softmax"));
  await import("../page.ts");
  await vi.advanceTimersByTimeAsync(60_000);
  vi.useRealTimers();
  const words = (node: HTMLElement) => [
    ...node.querySelectorAll<HTMLElement>('button[data-testid="exclip-word"]'),
  ];
  expect(words(one).map((word) => word.textContent)).toEqual(["a", "red", "boat"]);
  expect(one.textContent).toMatch(/beneath$/);
  words(one)[1]?.click();
  expect(words(one)[1]?.getAttribute("aria-pressed")).toBe("true");
  expect(words(other)[1]?.getAttribute("aria-pressed")).toBe("false");
  other.querySelector<HTMLElement>('[data-look="difference"]')?.click();
  expect(words(other)[1]?.textContent).toContain("−");
  const rows = [...list.querySelectorAll("[role=option]")];
  expect(rows.map((row) => row.querySelector("[dir]")?.textContent)).toEqual([
    "a red boat",
    "a blue boat",
    "<b>two</b> fish",
  ]);
  expect(rows.map((row) => row.ariaSelected)).toEqual(["true", "true", "false"]);
  for (const node of [one, other, list]) {
    expect(node.innerText).not.toContain("kernel");
    const ids = ["controls", "choose", "test", "cancel", "compare"];
    const asking = ids.map(
      (id) => node.querySelector<HTMLElement>(`[data-testid="exclip-${id}"]`)?.offsetParent ?? null,
    );
    expect(asking).toEqual([null, null, null, null, null]);
    expect(node.querySelectorAll('[role="alert"]:not([hidden])')).toHaveLength(0);
  }
  // A repeated image is in the page once.
  for (const node of [one, third]) {
    await expect.poll(() => node.querySelector("img")?.naturalWidth).toBe(1);
  }
});
