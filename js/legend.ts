/** One scale: a gradient symmetric about 0 with its numbers, and a mark at the value pointed at. */
import { effect, type ReadonlySignal } from "@preact/signals-core";
import { colormaps, css, opacity } from "./colormap.ts";
import { element } from "./dom.ts";
import { plain, signed } from "./numbers.ts";
import type { Theme } from "./theme.ts";

const STOPS = 32;

export function legend(
  what: { testid: string; unit: string },
  scale: ReadonlySignal<number>,
  pointed: ReadonlySignal<number | null>,
  theme: ReadonlySignal<Theme>,
  lifetime: AbortSignal,
): HTMLElement {
  const gradient = element("div", "exclip-gradient");
  const mark = element("div", "exclip-mark");
  const pointer = element("div", "exclip-pointed");
  const low = element("span", "exclip-tick");
  const high = element("span", "exclip-tick");
  const node = element(
    "div",
    "exclip-legend",
    { "data-testid": what.testid, role: "img" },
    element("div", "exclip-head", {}, what.unit, pointer),
    element("div", "exclip-scale", {}, gradient, mark),
    element("div", "exclip-ticks", {}, low, element("span", "exclip-tick", {}, "0"), high),
  );

  const stops = [
    effect(() => {
      const map = colormaps[theme.value];
      const colors = Array.from({ length: STOPS + 1 }, (_, i) => {
        const x = (2 * i) / STOPS - 1;
        return css(map.at(x), opacity(x));
      });
      gradient.style.backgroundImage = `linear-gradient(to right, ${colors.join(", ")})`;
    }),
    effect(() => {
      const end = scale.value;
      node.classList.toggle("exclip-empty", end === 0);
      low.textContent = signed(-end);
      high.textContent = signed(end);
      node.setAttribute("aria-label", `Scale from −${plain(end)} to ${plain(end)}, ${what.unit}`);
    }),
    effect(() => {
      const value = scale.value === 0 ? null : pointed.value;
      mark.hidden = value === null;
      pointer.textContent = value === null ? "" : signed(value);
      if (value !== null) mark.style.left = `${50 + (50 * value) / scale.value}%`;
    }),
  ];
  lifetime.addEventListener("abort", () => {
    for (const stop of stops) stop();
  });
  return node;
}
