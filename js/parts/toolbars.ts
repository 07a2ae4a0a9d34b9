/** The line of small buttons under the picture, and the one beside the caption's scale. */
import { effect, type Signal, signal } from "@preact/signals-core";
import { type Mode, modeOf } from "../algebra/selection.ts";
import { type IconButton, iconButton, icons, rove, switchOf, toolbar } from "../ui/buttons.ts";
import { element, give, listenerOf, until } from "../ui/dom.ts";
import { colormap, css, gradient, palettes, type Sign } from "../view/colormap.ts";
import type { Side } from "../view/gestures.ts";
import type { Settings, Tool } from "../view/settings.ts";
import type { Lens } from "../view/view-state.ts";

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
export function pictureTools(lens: Lens, settings: Settings, lifetime: AbortSignal): HTMLElement {
  const { tool, mode } = settings;
  const held = heldMode(lifetime);
  const choices = TOOLS.map(([value, name, hint]) => {
    const choose = () => {
      tool.value = value;
    };
    return iconButton(name, icons[value], lifetime, choose, hint);
  });
  const modes = MODES.map(([value, name, hint]) => {
    const choose = () => {
      mode.value = mode.peek() === value ? "replace" : value;
    };
    return iconButton(name, icons[value], lifetime, choose, hint);
  });
  const whole = wholeSide(lens.region, "patches", lifetime);
  const open = signal(false);
  const hint = "Signs, colours, strength";
  const more = switchOf("Appearance", icons.settings, open, "aria-expanded", lifetime, hint);
  const panel = appearance(lens, settings, lifetime);

  until(
    lifetime,
    effect(() => {
      TOOLS.forEach(([value], i) => {
        choices[i]?.press(tool.value === value);
      });
    }),
    effect(() => {
      const now = held.value === "replace" ? mode.value : held.value;
      MODES.forEach(([value], i) => {
        modes[i]?.press(now === value);
      });
    }),
    effect(() => {
      panel.hidden = !open.value;
    }),
  );
  return element(
    "div",
    "exclip-tools",
    { "data-testid": "exclip-tools" },
    toolbar(
      "Selecting on the picture",
      lifetime,
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
  lens: Lens,
  settings: Settings,
  lifetime: AbortSignal,
  more: HTMLElement,
): HTMLElement {
  const hint = "Pieces of words and special tokens, as the model reads them";
  const cut = settings.pieces;
  const pieces = switchOf("Pieces", icons.pieces, cut, "aria-pressed", lifetime, hint);
  const whole = wholeSide(lens.tokens, "words", lifetime);
  return toolbar(
    "Selecting in the caption",
    lifetime,
    [pieces],
    whole.map(({ node }) => node),
    [more],
  );
}

/** Everything else, and nothing. */
function wholeSide(side: Side, what: string, lifetime: AbortSignal): IconButton[] {
  const [all, clear] = [`Invert selected ${what}`, `Clear selected ${what}`];
  const others = iconButton(all, icons.invert, lifetime, side.invert, `${all} (I)`);
  const none = iconButton(clear, icons.clear, lifetime, () => side.select([]), `${clear} (Esc)`);
  until(
    lifetime,
    effect(() => {
      // Not disabled: a button that has the focus should not lose it by being used.
      give(none.node, { "aria-disabled": side.selected.value.length === 0 });
    }),
  );
  return [others, none];
}

/** What Shift and Alt say while they are held, to be seen on the buttons that stand for them. */
function heldMode(lifetime: AbortSignal) {
  const held = signal<Mode>("replace");
  const follow = (event: Event) => {
    held.value = event instanceof KeyboardEvent ? modeOf(event, "replace") : "replace";
  };
  for (const type of ["keydown", "keyup", "blur"]) {
    window.addEventListener(type, follow, { signal: lifetime });
  }
  return held;
}

/** Sign, smoothness, colours and strength of the heat. */
function appearance(lens: Lens, settings: Settings, lifetime: AbortSignal): HTMLElement {
  const name = "Smooth between patches";
  const smooth = switchOf(name, icons.smooth, settings.smooth, "aria-pressed", lifetime);
  const strength = element("input", "exclip-strength", {
    type: "range",
    min: "0",
    max: "100",
    "aria-label": "Strength of the colours over the picture",
  });
  listenerOf(strength, lifetime)("input", () => {
    settings.strength.value = Number(strength.value) / 100;
  });
  const signs = oneOf("Sign", settings.sign, SIGNS, lifetime);
  const colors = oneOf(
    "Colours",
    settings.palette,
    palettes.map((palette) => [palette, "", `Colours ${palette}`] as const),
    lifetime,
  );
  until(
    lifetime,
    effect(() => {
      strength.value = String(Math.round(100 * settings.strength.value));
    }),
    effect(() => {
      palettes.forEach((palette, i) => {
        const map = colormap(palette, lens.ink.value.theme);
        const node = colors.children[i] as HTMLElement;
        node.classList.add("exclip-palette");
        node.style.backgroundImage = gradient(4, (x) => css(map.at(0.9 * x)));
      });
    }),
  );
  return element(
    "div",
    "exclip-appearance",
    { "data-testid": "exclip-appearance", role: "group", "aria-label": "Appearance" },
    signs,
    element("div", "exclip-group", {}, smooth),
    colors,
    strength,
  );
}

/** Buttons of which one is pressed. */
function oneOf<Value extends string>(
  name: string,
  chosen: Signal<Value>,
  values: readonly (readonly [Value, text: string, hint: string])[],
  lifetime: AbortSignal,
): HTMLElement {
  const buttons = values.map(([value, text, hint]) => {
    const node = element(
      "button",
      "exclip-tool",
      { type: "button", "aria-label": hint, "data-hint": hint },
      text,
    );
    listenerOf(node, lifetime)("click", () => {
      chosen.value = value;
    });
    return node;
  });
  const group = element("div", "exclip-group", { role: "group", "aria-label": name }, ...buttons);
  rove(group, lifetime);
  until(
    lifetime,
    effect(() => {
      buttons.forEach((node, i) => {
        give(node, { "aria-pressed": values[i]?.[0] === chosen.value });
      });
    }),
  );
  return group;
}
