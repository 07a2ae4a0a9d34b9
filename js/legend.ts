/** One scale: a gradient symmetric about 0 with its numbers, what is on it now, and a lock. */
import { effect, type ReadonlySignal } from "@preact/signals-core";
import { css, heatColor, type Ink } from "./colormap.ts";
import { element, until } from "./dom.ts";
import type { Scale } from "./lens.ts";
import { plain, signed } from "./numbers.ts";
import { iconButton, icons } from "./toolbar.ts";

const STOPS = 32;

export function legend(
  what: { testid: string; unit: string },
  scale: Scale,
  ink: ReadonlySignal<Ink>,
  lifetime: AbortSignal,
): HTMLElement {
  const gradient = element("div", "exclip-gradient", { role: "img" });
  const mark = element("div", "exclip-mark");
  const pointer = element("span", "exclip-pointed");
  const note = element("span", "exclip-held");
  const range = element("div", "exclip-range");
  const low = element("span", "exclip-tick");
  const high = element("span", "exclip-tick");
  const lock = iconButton("Lock this scale", icons.unlocked, lifetime, () => {
    scale.lock.value = scale.lock.peek() === null ? scale.end.peek() : null;
  });
  const node = element(
    "div",
    "exclip-legend",
    { "data-testid": what.testid },
    element("div", "exclip-head", {}, element("span", "", {}, what.unit, note), pointer),
    element("div", "exclip-scale", {}, gradient, range, mark),
    lock.node,
    element("div", "exclip-ticks", {}, low, element("span", "exclip-tick", {}, "0"), high),
  );

  until(
    lifetime,
    effect(() => {
      const colors = Array.from({ length: STOPS + 1 }, (_, i) =>
        css(...heatColor(ink.value, (2 * i) / STOPS - 1)),
      );
      gradient.style.backgroundImage = `linear-gradient(to right, ${colors.join(", ")})`;
    }),
    effect(() => {
      const end = scale.end.value;
      const [from, to] = scale.range.value ?? [0, 0];
      const most = Math.max(to, -from);
      const locked = scale.lock.value !== null;
      node.classList.toggle("exclip-empty", end === 0);
      low.textContent = signed(-end);
      high.textContent = signed(end);
      const place = (value: number) => 50 + 50 * Math.max(-1, Math.min(1, value / (end || 1)));
      range.style.left = `${place(from)}%`;
      range.style.right = `${100 - place(to)}%`;
      const beyond = most > end * (1 + 1e-9);
      const faint = !locked && most < end;
      note.textContent = beyond ? `, up to ${plain(most)}` : faint ? ", faint" : "";
      lock.hint(
        locked
          ? `Scale locked at ±${plain(end)}`
          : `Scale follows the selection, never below ±${plain(scale.floor.value)}: ¼ of the strongest word and patch. Lock it`,
      );
      gradient.setAttribute(
        "aria-label",
        `Scale from −${plain(end)} to ${plain(end)}, ${what.unit}; values from ${signed(from)} to ${signed(to)}`,
      );
    }),
    effect(() => {
      const locked = scale.lock.value !== null;
      lock.press(locked);
      lock.draw(locked ? icons.locked : icons.unlocked);
    }),
    effect(() => {
      const end = scale.end.value;
      const value = end === 0 ? null : scale.pointed.value;
      mark.hidden = value === null;
      pointer.textContent = value === null ? "" : signed(value);
      if (value !== null) {
        mark.style.left = `${50 + 50 * Math.max(-1, Math.min(1, value / end))}%`;
      }
    }),
  );
  return node;
}
