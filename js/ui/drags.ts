/** Drags over an element, with the main button or with one finger; other pointers do not count. */
import type { Scope } from "./scope.ts";

interface Drags {
  /** Begin a drag; return false if there is nothing to drag here. */
  start(event: PointerEvent): boolean;
  move(event: PointerEvent): void;
  /** End the drag where the pointer is released. */
  drop(event: PointerEvent): void;
  /** Abandon the drag: nothing was dropped. */
  stop(): void;
  /** Follow a pointer that drags nothing. */
  hover(event: PointerEvent): void;
  leave(): void;
}

export interface Dragging {
  active(): boolean;
  stop(): void;
}

/** A `pointerId` that no pointer has. */
const NONE = -1;

export function followDrags(node: HTMLElement, drags: Drags, scope: Scope): Dragging {
  let pointer = NONE;
  const active = () => pointer !== NONE;
  const stop = () => {
    pointer = NONE;
    drags.stop();
  };
  scope.on(node, "pointerdown", (event) => {
    // Ctrl-click opens a menu on macOS, and the release may never arrive.
    if (event.button !== 0 || event.ctrlKey || !event.isPrimary || !drags.start(event)) return;
    pointer = event.pointerId;
    node.setPointerCapture(pointer);
  });
  scope.on(node, "pointermove", (event) => {
    const mine = event.pointerId === pointer;
    // Released elsewhere: a menu, a dialog or another window got the event.
    if (mine && !(event.buttons & 1)) stop();
    if (!active()) drags.hover(event);
    else if (mine) drags.move(event);
  });
  scope.on(node, "pointerup", (event) => {
    if (event.pointerId !== pointer) return;
    pointer = NONE;
    drags.drop(event);
  });
  // Comes after a cancelled pointer, too, and after a release, which has ended the drag by then.
  scope.on(node, "lostpointercapture", ({ pointerId }) => {
    if (pointerId === pointer) stop();
  });
  scope.on(node, "pointerleave", () => {
    if (!active()) drags.leave();
  });
  scope.on(node, "keydown", (event) => {
    if (event.key !== "Escape" || !active()) return;
    stop();
    event.stopPropagation();
  });
  return { active, stop };
}
