/** The line of small buttons under the picture, and the one beside the caption's scale. */
import { effect, type Signal, signal } from "@preact/signals-core";
import { colormap, css, palettes, type Sign } from "./colormap.ts";
import { element, listenerOf, until } from "./dom.ts";
import type { Lens } from "./lens.ts";
import { type Mode, modeOf } from "./selection.ts";
import type { Settings, Tool } from "./settings.ts";
import type { Side } from "./side.ts";
import { type IconButton, iconButton, icons, rove, toolbar } from "./toolbar.ts";

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
    return { value, button: iconButton(name, icons[value], lifetime, choose, hint) };
  });
  const modes = MODES.map(([value, name, hint]) => {
    const choose = () => {
      mode.value = mode.peek() === value ? "replace" : value;
    };
    return { value, button: iconButton(name, icons[value], lifetime, choose, hint) };
  });
  const whole = wholeSide(lens.region, "patches", lifetime);
  const open = signal(false);
  const more = iconButton(
    "Appearance",
    icons.settings,
    lifetime,
    () => {
      open.value = !open.peek();
    },
    "Signs, colours, strength",
  );
  const panel = appearance(lens, settings, lifetime);

  until(
    lifetime,
    effect(() => {
      for (const { value, button } of choices) button.press(tool.value === value);
    }),
    effect(() => {
      const now = held.value === "replace" ? mode.value : held.value;
      for (const { value, button } of modes) button.press(now === value);
    }),
    effect(() => {
      more.node.setAttribute("aria-expanded", String(open.value));
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
      choices.map(({ button }) => button.node),
      modes.map(({ button }) => button.node),
      whole.map(({ node }) => node),
      [more.node],
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
  const pieces = iconButton(
    "Pieces",
    icons.pieces,
    lifetime,
    () => {
      settings.pieces.value = !settings.pieces.peek();
    },
    "Pieces of words and special tokens, as the model reads them",
  );
  const whole = wholeSide(lens.tokens, "words", lifetime);
  until(
    lifetime,
    effect(() => pieces.press(settings.pieces.value)),
  );
  return toolbar(
    "Selecting in the caption",
    lifetime,
    [pieces.node],
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
      none.node.setAttribute("aria-disabled", String(side.selected.value.length === 0));
    }),
  );
  return [others, none];
}

/** What Shift and Alt say while they are held, to be seen on the buttons that stand for them. */
function heldMode(lifetime: AbortSignal) {
  const held = signal<Mode>("replace");
  for (const type of ["keydown", "keyup"] as const) {
    document.addEventListener(
      type,
      (event) => {
        held.value = modeOf(event, "replace");
      },
      { signal: lifetime },
    );
  }
  window.addEventListener(
    "blur",
    () => {
      held.value = "replace";
    },
    { signal: lifetime },
  );
  return held;
}

/** Sign, smoothness, colours and strength of the heat. */
function appearance(lens: Lens, settings: Settings, lifetime: AbortSignal): HTMLElement {
  const smooth = iconButton("Smooth between patches", icons.smooth, lifetime, () => {
    settings.smooth.value = !settings.smooth.peek();
  });
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
    effect(() => smooth.press(settings.smooth.value)),
    effect(() => {
      strength.value = String(Math.round(100 * settings.strength.value));
    }),
    effect(() => {
      palettes.forEach((palette, i) => {
        const map = colormap(palette, lens.ink.value.theme);
        const stops = [-0.9, -0.45, 0, 0.45, 0.9].map((x) => css(map.at(x)));
        const node = colors.children[i] as HTMLElement;
        node.classList.add("exclip-palette");
        node.style.backgroundImage = `linear-gradient(to right, ${stops.join(", ")})`;
      });
    }),
  );
  return element(
    "div",
    "exclip-appearance",
    { "data-testid": "exclip-appearance", role: "group", "aria-label": "Appearance" },
    signs,
    element("div", "exclip-group", {}, smooth.node),
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
        node.setAttribute("aria-pressed", String(values[i]?.[0] === chosen.value));
      });
    }),
  );
  return group;
}
