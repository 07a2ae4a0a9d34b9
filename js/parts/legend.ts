/** One scale: a gradient symmetric about 0 with its numbers, the values now on it, and a lock. */
import type { ReadonlySignal } from "@preact/signals-core";
import { clamp } from "../algebra/numbers.ts";
import { iconButton } from "../ui/buttons.ts";
import { box, element, write } from "../ui/dom.ts";
import { icons } from "../ui/icons.ts";
import type { Scope } from "../ui/scope.ts";
import { css, gradient, heatColor, type Ink } from "../view/colormap.ts";
import { plain, signed } from "../view/number-format.ts";
import type { Scale } from "../view/view-state.ts";

const STOPS = 32;

/** Return how far from the start of the scale a value lies. */
const place = (value: number, end: number) => `${50 + 50 * clamp(value / (end || 1), -1, 1)}%`;

export function legend(
  testid: string,
  per: "patch" | "word",
  scale: Scale,
  ink: ReadonlySignal<Ink>,
  scope: Scope,
): HTMLElement {
  const unit = `cosine similarity per ${per}`;
  const bar = element("div", "exclip-gradient", { role: "img" });
  const mark = box("exclip-mark");
  const pointer = element("span", "exclip-pointed");
  const note = element("span", "");
  const range = box("exclip-range");
  const low = element("span", "");
  const high = element("span", "");
  const lock = iconButton("Lock this scale", icons.unlocked, scope, () => {
    scale.lock.value = scale.lock.peek() === null ? scale.end.peek() : null;
  });
  const node = element(
    "div",
    "exclip-legend",
    { "data-testid": testid },
    box("exclip-head", element("span", "", unit, note), pointer),
    box("exclip-scale", bar, range, mark),
    lock.node,
    box("exclip-ticks", low, element("span", "", "0"), high),
  );

  scope.effect(() => {
    bar.style.backgroundImage = gradient(STOPS, (x) => css(...heatColor(ink.value, x)));
  });
  scope.effect(() => {
    const end = scale.end.value;
    const [from, to] = scale.range.value ?? [0, 0];
    const most = Math.max(to, -from);
    const locked = scale.lock.value !== null;
    node.classList.toggle("exclip-empty", end === 0);
    write(low, signed(-end));
    write(high, signed(end));
    range.style.left = place(from, end);
    range.style.right = place(-to, end);
    const beyond = most > end * (1 + 1e-9);
    const faint = !locked && most < end;
    write(note, beyond ? `, up to ${plain(most)}` : faint ? ", faint" : "");
    lock.hint(
      locked
        ? `Locked at ±${plain(end)}`
        : `Follows the selection, never below ±${plain(scale.floor.value)}: ¼ of the strongest pair. Lock it`,
    );
    bar.ariaLabel = `Scale from −${plain(end)} to ${plain(end)}, ${unit}; values from ${signed(from)} to ${signed(to)}`;
  });
  scope.effect(() => {
    const locked = scale.lock.value !== null;
    lock.press(locked);
    lock.draw(locked ? icons.locked : icons.unlocked);
  });
  scope.effect(() => {
    const end = scale.end.value;
    const value = end === 0 ? null : scale.pointed.value;
    mark.hidden = value === null;
    write(pointer, value === null ? "" : signed(value));
    if (value !== null) mark.style.left = place(value, end);
  });
  return node;
}
