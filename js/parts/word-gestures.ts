/** Gestures over the caption: pointers and keys that preview and select words. */
import { extent } from "../algebra/numbers.ts";
import { sorted } from "../algebra/selection.ts";
import { claim } from "../ui/dom.ts";
import { followDrags } from "../ui/drags.ts";
import type { Scope } from "../ui/scope.ts";
import type { Axis } from "../view/gestures.ts";

/** A word on the screen, with the rows of the matrix that it stands for. */
export interface WordButton {
  node: HTMLButtonElement;
  tokens: number[];
}

/** Return a function that forgets the gesture in progress, for when the words change. */
export function wordGestures(
  caption: HTMLElement,
  buttons: () => readonly WordButton[],
  axis: Axis,
  scope: Scope,
): () => void {
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
    const [from, to] = extent(a, b);
    return sorted(
      buttons()
        .slice(from, to + 1)
        .flatMap(({ tokens }) => tokens),
    );
  };

  /** The words between which the pointer drags. */
  let [first, last] = [0, 0];
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

  const dragging = followDrags(
    caption,
    {
      start({ target }) {
        const index = indexOf(target);
        if (index < 0) return false;
        [first, last] = [index, index];
        focus(index);
        return true;
      },
      move(event) {
        const to = nearest(event);
        if (to === last) return;
        last = to;
        axis.plan(span(first, last), event);
      },
      drop(event) {
        keep(first, last, event);
      },
      stop() {
        justKept = -1;
        axis.rest();
      },
      hover(event) {
        const index = indexAt(event);
        if (index === justKept && index >= 0) return;
        justKept = -1;
        axis.preview.value = buttons()[index]?.tokens ?? null;
      },
      leave() {
        justKept = -1;
        axis.preview.value = null;
      },
    },
    scope,
  );
  scope.on(caption, "click", (event) => {
    // Pointers and keys have been dealt with; what remains are clicks by assistive technology.
    const index = indexOf(event.target);
    if (event.detail === 0 && index >= 0) keep(index, index, event);
  });
  scope.on(caption, "keydown", (event) => {
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
    if (!dragging.active() && !moved) axis.rest();
  });

  return dragging.stop;
}
