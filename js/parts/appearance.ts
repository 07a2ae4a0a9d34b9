/** The panel of how the heat map looks: sign, smoothness, colours and strength. */
import type { Signal } from "@preact/signals-core";
import { rove, switchOf } from "../ui/buttons.ts";
import { box, element, give } from "../ui/dom.ts";
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

export function appearance(view: ViewState, settings: Settings, scope: Scope): HTMLElement {
  const name = "Smooth between patches";
  const smooth = switchOf(name, icons.smooth, settings.smooth, "aria-pressed", scope);
  const strength = element("input", "exclip-strength", {
    type: "range",
    min: "0",
    max: "100",
    "aria-label": "Strength of the colours over the picture",
  });
  scope.on(strength, "input", () => {
    settings.strength.value = Number(strength.value) / 100;
  });
  const signs = oneOf("Sign", settings.sign, SIGNS, scope);
  const colors = oneOf(
    "Colours",
    settings.palette,
    palettes.map((palette) => [palette, "", `Colours ${palette}`] as const),
    scope,
  );
  scope.effect(() => {
    strength.value = String(Math.round(100 * settings.strength.value));
  });
  scope.effect(() => {
    palettes.forEach((palette, i) => {
      const map = colormap(palette, view.ink.value.theme);
      const node = colors.children[i] as HTMLElement;
      node.classList.add("exclip-palette");
      node.style.backgroundImage = gradient(4, (x) => css(map.at(0.9 * x)));
    });
  });
  return element(
    "div",
    "exclip-appearance",
    { "data-testid": "exclip-appearance", role: "group", "aria-label": "Appearance" },
    signs,
    box("exclip-group", smooth),
    colors,
    strength,
  );
}

/** Buttons of which one is pressed. */
function oneOf<Value extends string>(
  name: string,
  chosen: Signal<Value>,
  values: readonly (readonly [Value, text: string, hint: string])[],
  scope: Scope,
): HTMLElement {
  const buttons = values.map(([value, text, hint]) => {
    const node = element(
      "button",
      "exclip-tool",
      { type: "button", "aria-label": hint, "data-hint": hint },
      text,
    );
    scope.on(node, "click", () => {
      chosen.value = value;
    });
    return node;
  });
  const group = element("div", "exclip-group", { role: "group", "aria-label": name }, ...buttons);
  rove(group, scope);
  scope.effect(() => {
    buttons.forEach((node, i) => {
      give(node, { "aria-pressed": values[i]?.[0] === chosen.value });
    });
  });
  return group;
}
