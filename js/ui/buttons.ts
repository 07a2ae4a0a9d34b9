/** Small buttons with a drawing and a name, in rows that are a single Tab stop. */
import type { Signal } from "@preact/signals-core";
import { box, button, claim, drawing, give, panel, refill } from "./dom.ts";
import type { Scope } from "./scope.ts";

export interface IconButton {
  node: HTMLButtonElement;
  press(pressed: boolean): void;
  draw(path: string): void;
  /** Set the hint, which says what it does and with which key; see `showHints`. */
  hint(text: string): void;
}

export function iconButton(
  name: string,
  path: string,
  scope: Scope,
  act: () => void,
  hint = name,
): IconButton {
  const node = button("exclip-tool", { "aria-label": name });
  const draw = (d: string) => node.replaceChildren(drawing("exclip-icon", d));
  draw(path);
  const say = (text: string) => {
    node.dataset.hint = text;
  };
  say(hint);
  scope.on(node, "click", act);
  return {
    node,
    draw,
    press: (pressed) => give(node, { "aria-pressed": pressed }),
    hint: say,
  };
}

/** Return a button that turns something on and off, with its state in the attribute `state`. */
export function switchOf(
  name: string,
  path: string,
  on: Signal<boolean>,
  state: "aria-pressed" | "aria-expanded",
  scope: Scope,
  hint = name,
): HTMLElement {
  const flip = () => {
    on.value = !on.peek();
  };
  const { node } = iconButton(name, path, scope, flip, hint);
  scope.effect(() => {
    give(node, { [state]: on.value });
  });
  return node;
}

/**
 * Make the buttons of `container`, and anything else marked as a stop, a single
 * Tab stop, with arrow keys moving among them. Call the returned function when
 * they have changed.
 */
export function rove(container: HTMLElement, scope: Scope): () => void {
  const items = () => [
    ...container.querySelectorAll<HTMLElement>(":is(button, [data-stop]):not([hidden])"),
  ];
  const stop = (chosen: HTMLElement | undefined) => {
    for (const item of items()) item.tabIndex = item === chosen ? 0 : -1;
  };
  scope.on(container, "focusin", ({ target }) => {
    const item = items().find((one) => one === target);
    if (item) stop(item);
  });
  scope.on(container, "keydown", (event) => {
    const all = items();
    const index = all.indexOf(event.target as HTMLElement);
    const sideways = getComputedStyle(container).direction === "rtl" ? -1 : 1;
    const step = { ArrowRight: sideways, ArrowLeft: -sideways, ArrowDown: 1, ArrowUp: -1 }[
      event.key
    ];
    if (step === undefined || index < 0) return;
    claim(event);
    all[(index + step + all.length) % all.length]?.focus();
  });
  const refresh = () => stop(items().find((item) => item.matches(":focus")) ?? items()[0]);
  refresh();
  return refresh;
}

export function toolbar(name: string, scope: Scope, ...groups: (readonly Node[])[]): HTMLElement {
  const node = panel(
    "exclip-toolbar",
    "toolbar",
    name,
    ...groups.map((group) => box("exclip-group", ...group)),
  );
  rove(node, scope);
  return node;
}

export function textButton(
  text: string,
  testid: string,
  scope: Scope,
  act: () => void,
): HTMLButtonElement {
  const node = button("exclip-tool exclip-text", { "data-testid": testid }, text);
  scope.on(node, "click", act);
  return node;
}

/** Return buttons of which one is pressed. Each has a value, a text and, if needed, a hint. */
export function oneOf<Value extends string>(
  name: string,
  className: string,
  values: () => readonly (readonly [Value, text: string, hint?: string])[],
  chosen: () => Value,
  choose: (value: Value) => void,
  scope: Scope,
): HTMLElement {
  const group = panel("exclip-group", "group", name);
  const refresh = rove(group, scope);
  scope.effect(() => {
    const buttons = values().map(([value, text, hint]) => {
      const node = button(`exclip-tool ${className}`, { value }, text);
      if (hint) give(node, { "aria-label": hint, "data-hint": hint });
      return node;
    });
    refill(group, buttons);
    refresh();
  });
  scope.effect(() => {
    values();
    for (const node of group.querySelectorAll("button")) {
      give(node, { "aria-pressed": node.value === chosen() });
    }
  });
  scope.on(group, "click", ({ target }) => {
    const { value } = target as HTMLButtonElement;
    if (value && value !== chosen()) choose(value as Value);
  });
  return group;
}

/**
 * Set whether a button does anything now, with a hint that says what, or why not.
 * Not by `disabled`, which would take the focus from it. `ignoreDisabled` blocks its clicks.
 */
export function enable(node: HTMLElement, able: boolean, hint: string): void {
  give(node, { "aria-disabled": !able });
  node.dataset.hint = hint;
}

/** Block clicks on anything in `root` that does nothing now. */
export function ignoreDisabled(root: HTMLElement, scope: Scope): void {
  const block = (event: Event) => {
    if ((event.target as Element).closest('[aria-disabled="true"]')) event.stopPropagation();
  };
  scope.on(root, "click", block, true);
}
