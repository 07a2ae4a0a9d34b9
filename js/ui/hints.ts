/**
 * Hints: what a thing does (its `data-hint`), in words beside it for whoever
 * points at it or focuses it. In the top layer, where nothing cuts them off;
 * one stays while it is pointed at itself, and Escape dismisses it (WCAG 1.4.13).
 */
import { clamp } from "../algebra/numbers.ts";
import { attended } from "./attended.ts";
import { claim, element, link, write } from "./dom.ts";
import type { Scope } from "./scope.ts";

/** Long enough that a pointer on its way elsewhere brings nothing up. */
const SHOW_AFTER_MS = 450;
/** Long enough to go from a thing to its hint. */
const HIDE_AFTER_MS = 200;
const GAP = 5;

export function showHints(root: HTMLElement, scope: Scope): void {
  const hint = element("div", "exclip-tip", { popover: "manual", role: "tooltip" });
  root.append(hint);
  /** What the hint is about, while it is there. */
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
      // Asked only now: browsers differ in when a thing is hovered over. What was clicked has the focus,
      // but nobody asks about it.
      if (node?.matches(":hover, :focus-visible")) show(node);
      else hide();
    }, ms);
  };

  const at = attended(root, "[data-hint]", scope);
  scope.effect(() => later(at.value ? SHOW_AFTER_MS : HIDE_AFTER_MS, at.value));
  scope.on(hint, "pointerenter", stay);
  scope.on(hint, "pointerleave", () => later(HIDE_AFTER_MS, at.peek()));
  // What was used may say something else now.
  scope.on(root, "click", () => {
    if (subject) show(subject);
  });
  scope.on(window, "scroll", hide, true);
  // First of all that the key would take away.
  scope.on(
    window,
    "keydown",
    (event) => {
      if (event.key !== "Escape" || !hint.matches(":popover-open")) return;
      // One that is about to go takes no key from anybody.
      if (subject === at.peek() || hint.matches(":hover")) claim(event);
      hide();
    },
    true,
  );
  scope.onEnd(stay);
}
