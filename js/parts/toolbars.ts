/** The line of small buttons under the picture, and the one beside the caption's scale. */
import { type Signal, signal } from "@preact/signals-core";
import { type Mode, modeOf } from "../algebra/selection.ts";
import { type IconButton, iconButton, icons, rove, switchOf, toolbar } from "../ui/buttons.ts";
import { box, element, give } from "../ui/dom.ts";
import type { Scope } from "../ui/scope.ts";
import { colormap, css, gradient, palettes, type Sign } from "../view/colormap.ts";
import type { Side } from "../view/gestures.ts";
import type { Settings, Tool } from "../view/settings.ts";
import type { ViewState } from "../view/view-state.ts";

const TOOLS: readonly [Tool, string, string][] = [
  ["box", "Box", "Click a patch or drag a box (B)"],
  ["brush", "Brush", "Paint over patches (P); [ and ] change its size"],
  ["lasso", "Lasso", "Draw around patches (L)"],
];

const MODES: readonly ["add" | "subtract", string, string][] = [
  ["add", "Add", "Add to the selection (Shift)"],
  ["subtract", "Subtract", "Take from the selection (Alt)"],
];

const SIGNS: readonly [Sign, string, string][] = [
  ["both", "±", "Both signs"],
  ["positive", "+", "Only what speaks for the match"],
  ["negative", "−", "Only what speaks against it"],
];

/** Selecting on the picture, and a few settings of how it is read, out of the way until asked for. */
export function pictureTools(view: ViewState, settings: Settings, scope: Scope): HTMLElement {
  const { tool, mode } = settings;
  const held = heldMode(scope);
  const choices = TOOLS.map(([value, name, hint]) => {
    const choose = () => {
      tool.value = value;
    };
    return iconButton(name, icons[value], scope, choose, hint);
  });
  const modes = MODES.map(([value, name, hint]) => {
    const choose = () => {
      mode.value = mode.peek() === value ? "replace" : value;
    };
    return iconButton(name, icons[value], scope, choose, hint);
  });
  const whole = wholeSide(view.region, "patches", scope);
  const open = signal(false);
  const hint = "Signs, colours, strength";
  const more = switchOf("Appearance", icons.settings, open, "aria-expanded", scope, hint);
  const panel = appearance(view, settings, scope);

  scope.effect(() => {
    TOOLS.forEach(([value], i) => {
      choices[i]?.press(tool.value === value);
    });
  });
  scope.effect(() => {
    const now = held.value === "replace" ? mode.value : held.value;
    MODES.forEach(([value], i) => {
      modes[i]?.press(now === value);
    });
  });
  scope.effect(() => {
    panel.hidden = !open.value;
  });
  return element(
    "div",
    "exclip-tools",
    { "data-testid": "exclip-tools" },
    toolbar(
      "Selecting on the picture",
      scope,
      choices.map(({ node }) => node),
      modes.map(({ node }) => node),
      whole.map(({ node }) => node),
      [more],
    ),
    panel,
  );
}

/** What the caption offers beside clicks and drags, and `more`. */
export function captionTools(
  view: ViewState,
  settings: Settings,
  scope: Scope,
  more: HTMLElement,
): HTMLElement {
  const hint = "Pieces of words and special tokens, as the model reads them";
  const cut = settings.pieces;
  const pieces = switchOf("Pieces", icons.pieces, cut, "aria-pressed", scope, hint);
  const whole = wholeSide(view.tokens, "words", scope);
  return toolbar(
    "Selecting in the caption",
    scope,
    [pieces],
    whole.map(({ node }) => node),
    [more],
  );
}

/** Everything else, and nothing. */
function wholeSide(side: Side, what: string, scope: Scope): IconButton[] {
  const [all, clear] = [`Invert selected ${what}`, `Clear selected ${what}`];
  const others = iconButton(all, icons.invert, scope, side.invert, `${all} (I)`);
  const none = iconButton(clear, icons.clear, scope, () => side.select([]), `${clear} (Esc)`);
  scope.effect(() => {
    // Not disabled: a button that has the focus should not lose it by being used.
    give(none.node, { "aria-disabled": side.selected.value.length === 0 });
  });
  return [others, none];
}

/** What Shift and Alt say while they are held, to be seen on the buttons that stand for them. */
function heldMode(scope: Scope) {
  const held = signal<Mode>("replace");
  const follow = (event: Event) => {
    held.value = event instanceof KeyboardEvent ? modeOf(event, "replace") : "replace";
  };
  for (const type of ["keydown", "keyup", "blur"]) {
    scope.on(window, type, follow);
  }
  return held;
}

/** Sign, smoothness, colours and strength of the heat. */
function appearance(view: ViewState, settings: Settings, scope: Scope): HTMLElement {
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
