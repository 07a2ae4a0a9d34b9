/** Gestures over the caption: pointers and keys that preview and select words. */
import { extent } from "../algebra/numbers.ts";
import { sorted } from "../algebra/selection.ts";
import { claim } from "../ui/dom.ts";
import type { Scope } from "../ui/scope.ts";
import type { Axis } from "../view/gestures.ts";

/** A word on the screen, with the rows of the matrix that it stands for. */
export interface WordButton {
  node: HTMLButtonElement;
  tokens: number[];
}

export function wordGestures(
  caption: HTMLElement,
  buttons: () => readonly WordButton[],
  axis: Axis,
  scope: Scope,
): void {
  const indexOf = (target: EventTarget | null) =>
    buttons().findIndex(({ node }) => node.contains(target as Node | null));
  const indexAt = (event: PointerEvent) => {
    // While captured, every event targets the caption: look up what lies under the pointer.
    const root = caption.getRootNode() as Document | ShadowRoot;
    return indexOf(root.elementFromPoint(event.clientX, event.clientY));
  };
  /** Return the word that a drag has reached, even between words and beside lines. */
  const nearest = ({ clientX: x, clientY: y }: PointerEvent) => {
    const beyond = (at: number, from: number, to: number) => Math.max(from - at, 0, at - to);
    // Lines come first: a point beside a line means the word at its end.
    const far = buttons().map(({ node }) => {
      const { left, right, top, bottom } = node.getBoundingClientRect();
      return 1e4 * beyond(y, top, bottom) + beyond(x, left, right);
    });
    return far.indexOf(Math.min(...far));
  };
  const span = (a: number, b: number) => {
    const [first, last] = extent(a, b);
    return sorted(
      buttons()
        .slice(first, last + 1)
        .flatMap(({ tokens }) => tokens),
    );
  };

  let drag: { from: number; to: number } | null = null;
  /** The pointer that drags: other fingers do not count. */
  let dragging = -1;
  /** The word just selected: it is not previewed until the pointer has been elsewhere. */
  let justKept = -1;

  function keep(from: number, to: number, event: MouseEvent | KeyboardEvent): void {
    justKept = to;
    focus(to);
    axis.keep(span(from, to), event, from === to);
  }

  function focus(index: number): void {
    for (const { node } of buttons()) node.tabIndex = -1;
    const node = buttons()[index]?.node;
    if (!node) return;
    node.tabIndex = 0;
    node.focus({ preventScroll: true });
  }

  function stopDrag(): void {
    drag = null;
    axis.rest();
  }

  scope.on(caption, "pointerdown", (event) => {
    const index = indexOf(event.target);
    if (index < 0 || event.button !== 0 || !event.isPrimary) return;
    drag = { from: index, to: index };
    dragging = event.pointerId;
    caption.setPointerCapture(dragging);
    focus(index);
  });
  scope.on(caption, "pointermove", (event) => {
    if (drag) {
      if (event.pointerId !== dragging) return;
      const to = nearest(event);
      if (to === drag.to) return;
      drag.to = to;
      axis.plan(span(drag.from, to), event);
      return;
    }
    const index = indexAt(event);
    if (index === justKept && index >= 0) return;
    justKept = -1;
    axis.preview.value = buttons()[index]?.tokens ?? null;
  });
  scope.on(caption, "pointerup", (event) => {
    if (!drag || event.pointerId !== dragging) return;
    const { from, to } = drag;
    drag = null;
    keep(from, to, event);
  });
  scope.on(caption, "pointercancel", ({ pointerId }) => {
    if (pointerId === dragging) stopDrag();
  });
  scope.on(caption, "pointerleave", () => {
    if (drag) return;
    justKept = -1;
    axis.preview.value = null;
  });
  scope.on(caption, "click", (event) => {
    // Pointers and keys have been dealt with; what remains are clicks by assistive technology.
    const index = indexOf(event.target);
    if (event.detail === 0 && index >= 0) keep(index, index, event);
  });
  scope.on(caption, "keydown", (event) => {
    if (event.key === "Escape" && drag) {
      stopDrag();
      event.stopPropagation();
      return;
    }
    const index = indexOf(event.target);
    if (index < 0) return;
    if (event.key === "Enter" || event.key === " ") {
      // Not left to the button's own click: Alt+Enter causes none.
      claim(event);
      keep(index, index, event);
      return;
    }
    if (!axis.act(event) && !move(event, index)) return;
    claim(event);
  });

  /** Move the focus with a key and, with Shift, the end of the phrase; false if the key is not ours. */
  function move(event: KeyboardEvent, index: number): boolean {
    const rightToLeft = getComputedStyle(caption).direction === "rtl";
    const target = {
      ArrowRight: index + (rightToLeft ? -1 : 1),
      ArrowLeft: index + (rightToLeft ? 1 : -1),
      ArrowDown: index + 1,
      ArrowUp: index - 1,
      Home: 0,
      End: buttons().length - 1,
    }[event.key];
    if (target === undefined) return false;
    const next = buttons()[target];
    if (!next) return true;
    focus(target);
    if (event.shiftKey) axis.extend(index, (from) => span(from, target));
    else axis.point(next.tokens);
    return true;
  }

  scope.on(caption, "keyup", (event) => {
    if (event.key === " ") event.preventDefault(); // Firefox clicks on release
  });
  scope.on(caption, "focusout", ({ relatedTarget }) => {
    const moved = relatedTarget instanceof Node && caption.contains(relatedTarget);
    if (!drag && !moved) axis.rest();
  });
}
