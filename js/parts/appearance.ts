/** The panel that sets how the heat map looks: sign, smoothness, colours and strength. */
import { oneOf, switchOf } from "../ui/buttons.ts";
import { box, element, panel } from "../ui/dom.ts";
import { icons } from "../ui/icons.ts";
import type { Scope } from "../ui/scope.ts";
import { colormap, css, gradient, palettes, type Sign } from "../view/colormap.ts";
import type { Settings } from "../view/settings.ts";
import type { ViewState } from "../view/view-state.ts";

const SIGNS: readonly [Sign, string, string][] = [
  ["both", "±", "Both signs"],
  ["positive", "+", "Only what speaks for the match"],
  ["negative", "−", "Only what speaks against it"],
];

export function appearance(
  view: Pick<ViewState, "ink">,
  settings: Settings,
  scope: Scope,
): HTMLElement {
  const name = "Smooth between patches";
  const smooth = switchOf(name, icons.smooth, settings.smooth, "aria-pressed", scope);
  const strength = element("input", "exclip-slider", {
    type: "range",
    min: "0",
    max: "100",
    "aria-label": "Strength of the colours",
  });
  scope.on(strength, "input", () => {
    settings.strength.value = Number(strength.value) / 100;
  });
  const signs = oneOf(
    "Sign",
    "",
    () => SIGNS,
    () => settings.sign.value,
    (sign) => {
      settings.sign.value = sign;
    },
    scope,
  );
  const colors = oneOf(
    "Colours",
    "exclip-palette",
    () => palettes.map((palette) => [palette, "", `Colours ${palette}`] as const),
    () => settings.palette.value,
    (palette) => {
      settings.palette.value = palette;
    },
    scope,
  );
  scope.effect(() => {
    strength.value = String(Math.round(100 * settings.strength.value));
  });
  scope.effect(() => {
    palettes.forEach((palette, i) => {
      const map = colormap(palette, view.ink.value.theme);
      const node = colors.children[i] as HTMLElement;
      node.style.backgroundImage = gradient(4, (x) => css(map.at(0.9 * x)));
    });
  });
  return panel(
    "exclip-appearance",
    "group",
    "Appearance",
    signs,
    box("exclip-group", smooth),
    colors,
    strength,
  );
}
