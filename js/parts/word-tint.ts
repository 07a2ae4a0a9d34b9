/** The tint of a word: a colour behind its letters and a bar under them. */
import { clamp } from "../algebra/numbers.ts";
import { element } from "../ui/dom.ts";
import { css, type Ink, shownOf } from "../view/colormap.ts";

/** Height of a bar at the end of the scale, in em: the room that the style sheet leaves for it. */
const ZONE = 0.22;

/** Create the letters of a word with room for its bar: its only element that changes with its value. */
export const tinted = (text: string) => element("span", "exclip-tint", text);

/**
 * Show a word's value, if it has one, on a scale with this end. With custom
 * properties, transforms or gradients instead, the styles and layers of all
 * words took most of a frame.
 */
export function paintTint(
  word: HTMLElement,
  ink: Ink,
  value: number | undefined,
  end: number,
): void {
  if (value === undefined) delete word.dataset.value;
  else word.dataset.value = String(value);
  const { style } = word.firstElementChild as HTMLElement;
  const x = clamp(shownOf(ink, (value ?? 0) / (end || 1)), -1, 1);
  // The tint behind the letters stays at half the scale's strength, so that they stay legible.
  style.backgroundColor = css(ink.map.at(x / 2), Math.abs(x) * 0.6);
  // The bar's height is its value; its colour only has to show the sign.
  const color = css(ink.map.at(x / 2 + Math.sign(x) / 2));
  style.boxShadow = `${color} 0 ${(-ZONE * x).toFixed(3)}em${x > 0 ? " inset" : ""}`;
}
