/** The caption: its words as buttons, tinted by their values. */
import { signal } from "@preact/signals-core";
import { sorted } from "../algebra/selection.ts";
import { partsOf } from "../algebra/words.ts";
import type { WidgetState } from "../state/widget-state.ts";
import { claim, element } from "../ui/dom.ts";
import type { Scope } from "../ui/scope.ts";
import { css, type Ink, shownOf } from "../view/colormap.ts";
import { clamp, extent, signed } from "../view/number-format.ts";
import type { Settings } from "../view/settings.ts";
import type { ViewState } from "../view/view-state.ts";

/** Of a bar at the end of the scale, in em: the room that the style sheet leaves it. */
const ZONE = 0.22;

interface Button {
  node: HTMLButtonElement;
  tokens: number[];
  text: string;
  /** The white space after it, outlined with it when the next word is selected too. */
  gap: HTMLElement | null;
}

export function words(
  state: WidgetState,
  view: ViewState,
  settings: Settings,
  scope: Scope,
): HTMLElement {
  const caption = element("div", "exclip-caption", {
    role: "group",
    "aria-label": "Caption",
    dir: "auto",
  });
  let buttons: Button[] = [];
  /** Set after each layout: new buttons need everything that old ones had. */
  const laid = signal({});
  const side = view.tokens;

  scope.effect(() => {
    // A caption laid out anew forgets what the pointer was doing in the old one.
    side.rest();
    caption.classList.toggle("exclip-pieces", settings.pieces.value);
    buttons = layOut(caption, state, settings.pieces.value);
    laid.value = {};
  });
  scope.effect(() => {
    void laid.value;
    paintValues(buttons, view);
  });
  scope.effect(() => {
    void laid.value;
    const under = side.preview.value;
    for (const { node, tokens } of buttons) {
      const shown = under !== null && tokens.some((t) => under.includes(t));
      node.classList.toggle("exclip-under", shown);
    }
  });
  scope.effect(() => {
    void laid.value;
    const selected = new Set(side.selected.value);
    const whole = buttons.map(({ tokens }) => tokens.every((t) => selected.has(t)));
    buttons.forEach(({ node, tokens, gap }, i) => {
      const some = tokens.some((t) => selected.has(t));
      node.setAttribute("aria-pressed", whole[i] ? "true" : some ? "mixed" : "false");
      node.classList.toggle("exclip-joined", Boolean(gap && whole[i] && whole[i + 1]));
      const before = buttons[i - 1];
      node.classList.toggle("exclip-joins", Boolean(before?.gap && whole[i] && whole[i - 1]));
    });
  });

  const indexOf = (target: EventTarget | null) =>
    buttons.findIndex(({ node }) => node.contains(target as Node | null));
  const indexAt = (event: PointerEvent) => {
    // While captured, every event names the caption: ask what lies under the pointer.
    const root = caption.getRootNode() as Document | ShadowRoot;
    return indexOf(root.elementFromPoint(event.clientX, event.clientY));
  };
  /** The word that a drag has come to, between words and beside lines too. */
  const nearest = ({ clientX: x, clientY: y }: PointerEvent) => {
    const beyond = (at: number, from: number, to: number) => Math.max(from - at, 0, at - to);
    // Lines come first: what is beside a line means the word at its end.
    const far = buttons.map(({ node }) => {
      const { left, right, top, bottom } = node.getBoundingClientRect();
      return 1e4 * beyond(y, top, bottom) + beyond(x, left, right);
    });
    return far.indexOf(Math.min(...far));
  };
  const span = (a: number, b: number) => {
    const [first, last] = extent(a, b);
    return sorted(buttons.slice(first, last + 1).flatMap(({ tokens }) => tokens));
  };

  let drag: { from: number; to: number } | null = null;
  /** The word just kept: its preview waits until the pointer has been elsewhere. */
  let settled = -1;

  function keep(from: number, to: number, event: MouseEvent | KeyboardEvent): void {
    settled = to;
    focus(to);
    side.keep(span(from, to), event, from === to);
  }

  function focus(index: number): void {
    for (const { node } of buttons) node.tabIndex = -1;
    const node = buttons[index]?.node;
    if (!node) return;
    node.tabIndex = 0;
    node.focus({ preventScroll: true });
  }

  function stopDrag(): void {
    drag = null;
    side.rest();
  }

  scope.on(caption, "pointerdown", (event) => {
    const index = indexOf(event.target);
    if (index < 0 || event.button !== 0 || !event.isPrimary) return;
    drag = { from: index, to: index };
    caption.setPointerCapture(event.pointerId);
    focus(index);
  });
  scope.on(caption, "pointermove", (event) => {
    if (drag) {
      const to = nearest(event);
      if (to === drag.to) return;
      drag.to = to;
      side.plan(span(drag.from, to), event);
      return;
    }
    const index = indexAt(event);
    if (index === settled && index >= 0) return;
    settled = -1;
    side.preview.value = buttons[index]?.tokens ?? null;
  });
  scope.on(caption, "pointerup", (event) => {
    if (!drag) return;
    const { from, to } = drag;
    drag = null;
    keep(from, to, event);
  });
  scope.on(caption, "pointercancel", stopDrag);
  scope.on(caption, "pointerleave", () => {
    if (drag) return;
    settled = -1;
    side.preview.value = null;
  });
  scope.on(caption, "click", (event) => {
    // Pointers and keys are done by now; this is an assistive technology.
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
      // Not left to the button's own click: Alt with Enter makes none.
      claim(event);
      keep(index, index, event);
      return;
    }
    if (!side.act(event) && !move(event, index)) return;
    claim(event);
  });

  /** Moves the focus by a key, and with Shift the end of the phrase; false where it is not ours. */
  function move(event: KeyboardEvent, index: number): boolean {
    const rightToLeft = getComputedStyle(caption).direction === "rtl";
    const target = {
      ArrowRight: index + (rightToLeft ? -1 : 1),
      ArrowLeft: index + (rightToLeft ? 1 : -1),
      ArrowDown: index + 1,
      ArrowUp: index - 1,
      Home: 0,
      End: buttons.length - 1,
    }[event.key];
    if (target === undefined) return false;
    const next = buttons[target];
    if (!next) return true;
    focus(target);
    if (event.shiftKey) side.extend(index, (from) => span(from, target));
    else side.point(next.tokens);
    return true;
  }

  scope.on(caption, "keyup", (event) => {
    if (event.key === " ") event.preventDefault(); // Firefox clicks on release
  });
  scope.on(caption, "focusout", ({ relatedTarget }) => {
    const moved = relatedTarget instanceof Node && caption.contains(relatedTarget);
    if (!drag && !moved) side.rest();
  });

  return caption;
}

/** Buttons for the words, plain text between; what no token covers is visibly unread. */
function layOut(caption: HTMLElement, state: WidgetState, pieces: boolean): Button[] {
  const buttons: Button[] = [];
  const nodes: Node[] = [];
  for (const part of partsOf(state.caption.value, state.tokens.value, pieces)) {
    if ("between" in part) {
      const before = nodes.at(-1);
      const last = buttons.at(-1);
      if (part.between === " " && last && before === last.node) {
        // Kept on the line of its word, so that a phrase has one outline.
        last.gap = element("span", "exclip-gap", {}, " ");
        nodes[nodes.length - 1] = element("span", "exclip-phrase", {}, last.node, last.gap);
      } else if (part.between.trim() === "") {
        nodes.push(document.createTextNode(part.between));
      } else {
        nodes.push(element("span", "exclip-unread", {}, part.between));
      }
      continue;
    }
    const { text, tokens, special } = part.word;
    const node = element(
      "button",
      special ? "exclip-word exclip-special" : "exclip-word",
      {
        type: "button",
        tabindex: buttons.length === 0 ? "0" : "-1",
        "data-testid": "exclip-word",
        "data-tokens": tokens.join(","),
      },
      tinted(text),
    );
    buttons.push({ node, tokens, text, gap: null });
    nodes.push(node);
  }
  caption.replaceChildren(...nodes);
  return buttons;
}

function paintValues(buttons: readonly Button[], view: ViewState): void {
  const values = view.tint.value;
  const scale = view.tintScale.end.value || 1;
  const ink = view.ink.value;
  buttons.forEach(({ node, text }, i) => {
    const value = values?.[i];
    paintTint(node, ink, (value ?? 0) / scale);
    if (value === undefined) {
      node.removeAttribute("data-value");
      node.removeAttribute("aria-label");
    } else {
      node.dataset.value = String(value);
      node.setAttribute("aria-label", `${text}, ${signed(value)}`);
    }
  });
}

/** The letters of a word with room for its bar: the one element of it that changes with its value. */
export const tinted = (text: string) => element("span", "exclip-tint", {}, text);

/**
 * Gives a word the look of a value that is this fraction of the scale. With
 * custom properties, transforms or gradients instead, the styles and layers of
 * all words took most of a frame.
 */
export function paintTint(word: HTMLElement, ink: Ink, fraction: number): void {
  const { style } = word.firstElementChild as HTMLElement;
  const x = clamp(shownOf(ink, fraction), -1, 1);
  // The tint behind the letters stays at half the scale's strength: they must be read.
  style.backgroundColor = css(ink.map.at(x / 2), Math.abs(x) * 0.6);
  // The bar's height is its value; its colour only has to show the sign.
  const color = css(ink.map.at(x / 2 + Math.sign(x) / 2));
  style.boxShadow = `${color} 0 ${(-ZONE * x).toFixed(3)}em${x > 0 ? " inset" : ""}`;
}
