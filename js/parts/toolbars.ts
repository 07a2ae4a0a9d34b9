/** The line of small buttons under the image, and the one beside the caption's scale. */
import { signal } from "@preact/signals-core";
import { type Mode, modeOf } from "../algebra/selection.ts";
import type { WidgetState } from "../state/widget-state.ts";
import { iconButton, switchOf, toolbar } from "../ui/buttons.ts";
import { element, give } from "../ui/dom.ts";
import { icons } from "../ui/icons.ts";
import type { Scope } from "../ui/scope.ts";
import type { Axis } from "../view/gestures.ts";
import type { Settings, Tool } from "../view/settings.ts";
import type { ViewState } from "../view/view-state.ts";
import { appearance } from "./appearance.ts";

const TOOLS: readonly [Tool, name: string, hint: string][] = [
  ["box", "Box", "Click a patch or drag a box (B)"],
  ["brush", "Brush", "Paint over patches (P); [ and ] change its size"],
  ["lasso", "Lasso", "Draw around patches (L)"],
];

const MODES: readonly ["add" | "subtract", name: string, hint: string][] = [
  ["add", "Add", "Add to the selection (Shift)"],
  ["subtract", "Subtract", "Subtract from the selection (Alt)"],
];

/** Return the tools for selecting on the image, with the settings of its appearance folded away. */
export function imageTools(
  state: WidgetState,
  view: ViewState,
  settings: Settings,
  scope: Scope,
): HTMLElement {
  const { tool, mode } = settings;
  const held = heldMode(scope);
  const pressed = <Value extends Tool | "add" | "subtract">(
    buttons: readonly [Value, name: string, hint: string][],
    choose: (value: Value) => void,
    now: () => Tool | Mode,
  ) =>
    buttons.map(([value, name, hint]) => {
      const { node, press } = iconButton(name, icons[value], scope, () => choose(value), hint);
      scope.effect(() => press(now() === value));
      return node;
    });
  const choices = pressed(
    TOOLS,
    (value) => {
      tool.value = value;
    },
    () => tool.value,
  );
  const modes = pressed(
    MODES,
    (value) => {
      mode.value = mode.peek() === value ? "replace" : value;
    },
    () => (held.value === "replace" ? mode.value : held.value),
  );
  const whole = wholeAxis(view.region, "patches", scope);
  const rings = switchOf(
    "Hide outlier patches",
    icons.outliers,
    state.outliersHidden,
    "aria-pressed",
    scope,
    "Hide outlier patches (in rings), which describe the whole image",
  );
  rings.tabIndex = -1; // still hidden, so it must not be the toolbar's Tab stop
  const open = signal(false);
  const hint = "Signs, colours, strength";
  const more = switchOf("Appearance", icons.settings, open, "aria-expanded", scope, hint);
  const panel = appearance(view, settings, scope);

  scope.effect(() => {
    panel.hidden = !open.value;
    rings.hidden = state.outliers.value.length === 0;
  });
  return element(
    "div",
    "exclip-tools",
    { "data-testid": "exclip-tools" },
    toolbar("Selecting on the image", scope, choices, modes, whole, [rings, more]),
    panel,
  );
}

/** Return the tools of the caption besides clicks and drags, followed by `more`. */
export function captionTools(
  view: ViewState,
  settings: Settings,
  scope: Scope,
  more: HTMLElement,
): HTMLElement {
  const hint = "Pieces of words and special tokens, as the model reads them";
  const cut = settings.pieces;
  const pieces = switchOf("Pieces", icons.pieces, cut, "aria-pressed", scope, hint);
  const whole = wholeAxis(view.tokens, "words", scope);
  return toolbar("Selecting in the caption", scope, [pieces], whole, [more]);
}

/** Return the buttons that invert and clear the selection. */
function wholeAxis(axis: Axis, what: string, scope: Scope): HTMLElement[] {
  const [all, clear] = [`Invert selected ${what}`, `Clear selected ${what}`];
  const others = iconButton(all, icons.invert, scope, axis.invert, `${all} (I)`);
  const none = iconButton(clear, icons.clear, scope, () => axis.select([]), `${clear} (Esc)`);
  scope.effect(() => {
    // Not `disabled`: a button should not lose the focus by being used.
    give(none.node, { "aria-disabled": axis.selected.value.length === 0 });
  });
  return [others.node, none.node];
}

/** Follow the mode that Shift or Alt means while it is held, to show it on the button for it. */
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
