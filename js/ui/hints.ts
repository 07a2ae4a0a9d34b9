/**
 * Hints: tooltips with an element's `data-hint`, shown beside it on hover or
 * keyboard focus. They are in the top layer, where nothing clips them. A hint
 * stays while the pointer is over it, and Escape dismisses it (WCAG 1.4.13).
 */
import { clamp } from "../algebra/numbers.ts";
import { attended } from "./attended.ts";
import { claim, element, link, write } from "./dom.ts";
import type { Scope } from "./scope.ts";

/** Long enough that a pointer passing by shows nothing. */
const SHOW_AFTER_MS = 450;
/** Long enough to move from an element to its hint. */
const HIDE_AFTER_MS = 200;
const GAP = 5;

export function showHints(root: HTMLElement, scope: Scope): void {
  const hint = element("div", "exclip-tip", { popover: "manual", role: "tooltip" });
  root.append(hint);
  /** The element that the hint is about, while it is shown. */
  let subject: HTMLElement | null = null;
  let timer: ReturnType<typeof setTimeout> | undefined;

  function hide(): void {
    subject?.removeAttribute("aria-describedby");
    subject = null;
    hint.hidePopover();
  }
  function show(node: HTMLElement): void {
    hide();
    const text = node.dataset.hint;
    if (!text || !hint.isConnected) return;
    subject = node;
    write(hint, text);
    hint.showPopover();
    if (text !== node.ariaLabel) link(node, "aria-describedby", hint);
    const bounds = root.getBoundingClientRect();
    const { left, top, bottom } = node.getBoundingClientRect();
    const { width, height } = hint.getBoundingClientRect();
    const above = top - GAP - height;
    hint.style.left = `${clamp(left, bounds.left, bounds.right - width)}px`;
    hint.style.top = `${above < 0 ? bottom + GAP : above}px`;
  }
  const stay = () => clearTimeout(timer);
  const later = (ms: number, node: HTMLElement | null) => {
    stay();
    timer = setTimeout(() => {
      // Checked only now: browsers differ in when an element counts as hovered. An element that was clicked
      // has the focus, but is not being asked about.
      if (node?.matches(":hover, :focus-visible")) show(node);
      else hide();
    }, ms);
  };

  const at = attended(root, "[data-hint]", scope);
  scope.effect(() => later(at.value ? SHOW_AFTER_MS : HIDE_AFTER_MS, at.value));
  scope.on(hint, "pointerenter", stay);
  scope.on(hint, "pointerleave", () => later(HIDE_AFTER_MS, at.peek()));
  // The click may have changed the hint.
  scope.on(root, "click", () => {
    if (subject) show(subject);
  });
  scope.on(window, "scroll", hide, true);
  // Escape dismisses the hint before anything else.
  scope.on(
    window,
    "keydown",
    (event) => {
      if (event.key !== "Escape" || !hint.matches(":popover-open")) return;
      // A hint that is about to disappear leaves the key to others.
      if (subject === at.peek() || hint.matches(":hover")) claim(event);
      hide();
    },
    true,
  );
  scope.onEnd(stay);
}
