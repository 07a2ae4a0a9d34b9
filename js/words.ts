/** The caption: its words as buttons, tinted by their values. */
import { effect, type ReadonlySignal } from "@preact/signals-core";
import { partsOf } from "./caption.ts";
import { colormaps, css } from "./colormap.ts";
import { element, listenerOf } from "./dom.ts";
import type { Lens } from "./lens.ts";
import { signed } from "./numbers.ts";
import { join, modeOf, sorted, toggle } from "./selection.ts";
import type { WidgetState } from "./state.ts";
import type { Theme } from "./theme.ts";

interface Button {
  node: HTMLButtonElement;
  tokens: number[];
  text: string;
  /** The white space after it, outlined with it when the next word is selected too. */
  gap: HTMLElement | null;
}

export function words(
  state: WidgetState,
  lens: Lens,
  theme: ReadonlySignal<Theme>,
  lifetime: AbortSignal,
): HTMLElement {
  const caption = element("div", "exclip-caption", {
    role: "group",
    "aria-label": "Caption",
    dir: "auto",
  });
  let buttons: Button[] = [];
  const side = lens.tokens;

  const stops = [
    effect(() => {
      // A caption laid out anew forgets what the pointer was doing in the old one.
      side.preview.value = null;
      side.draft.value = null;
      buttons = layOut(caption, state);
    }),
    effect(() => {
      // Depends on the words too: new buttons need their values.
      void lens.words.value;
      paintValues(buttons, lens, theme.value);
    }),
    effect(() => {
      void lens.words.value;
      const selected = new Set(side.selected.value);
      const whole = buttons.map(({ tokens }) => tokens.every((t) => selected.has(t)));
      buttons.forEach(({ node, tokens, gap }, i) => {
        const some = tokens.some((t) => selected.has(t));
        node.setAttribute("aria-pressed", whole[i] ? "true" : some ? "mixed" : "false");
        node.classList.toggle("exclip-joined", Boolean(gap && whole[i] && whole[i + 1]));
        const before = buttons[i - 1];
        node.classList.toggle("exclip-joins", Boolean(before?.gap && whole[i] && whole[i - 1]));
      });
    }),
  ];
  lifetime.addEventListener("abort", () => {
    for (const stop of stops) stop();
  });

  const indexOf = (target: EventTarget | null) => buttons.findIndex(({ node }) => node === target);
  const indexAt = (event: PointerEvent) => {
    // While captured, every event names the caption: ask what lies under the pointer.
    const root = caption.getRootNode() as Document | ShadowRoot;
    return indexOf(root.elementFromPoint(event.clientX, event.clientY));
  };
  const span = (a: number, b: number) =>
    sorted(buttons.slice(Math.min(a, b), Math.max(a, b) + 1).flatMap(({ tokens }) => tokens));

  let drag: { from: number; to: number } | null = null;
  /** The word just kept: its preview waits until the pointer has been elsewhere. */
  let settled = -1;

  function keep(from: number, to: number, event: MouseEvent | KeyboardEvent): void {
    const choose = from === to ? toggle : join;
    side.preview.value = null;
    side.draft.value = null;
    settled = to;
    focus(to);
    state.selectTokens(choose(state.selectedTokens.peek(), span(from, to), modeOf(event)));
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
    side.draft.value = null;
  }

  const on = listenerOf(caption, lifetime);

  on("pointerdown", (event) => {
    const index = indexOf(event.target);
    if (index < 0 || event.button !== 0 || !event.isPrimary) return;
    drag = { from: index, to: index };
    caption.setPointerCapture(event.pointerId);
    focus(index);
  });
  on("pointermove", (event) => {
    const index = indexAt(event);
    if (drag) {
      if (index < 0 || index === drag.to) return;
      drag.to = index;
      side.preview.value = null;
      side.draft.value = join(state.selectedTokens.peek(), span(drag.from, index), modeOf(event));
      return;
    }
    if (index === settled && index >= 0) return;
    settled = -1;
    side.preview.value = buttons[index]?.tokens ?? null;
  });
  on("pointerup", (event) => {
    if (!drag) return;
    const { from, to } = drag;
    drag = null;
    keep(from, to, event);
  });
  on("pointercancel", stopDrag);
  on("pointerleave", () => {
    if (drag) return;
    settled = -1;
    side.preview.value = null;
  });
  on("click", (event) => {
    // Pointers and keys are done by now; this is an assistive technology.
    const index = indexOf(event.target);
    if (event.detail === 0 && index >= 0) keep(index, index, event);
  });
  on("keydown", (event) => {
    if (event.key === "Escape" && drag) {
      stopDrag();
      event.stopPropagation();
      return;
    }
    const index = indexOf(event.target);
    if (index < 0) return;
    if (event.key === "Enter" || event.key === " ") {
      // Not left to the button's own click: Alt with Enter makes none.
      event.preventDefault();
      event.stopPropagation();
      keep(index, index, event);
      return;
    }
    const rightToLeft = getComputedStyle(caption).direction === "rtl";
    const target = {
      ArrowRight: index + (rightToLeft ? -1 : 1),
      ArrowLeft: index + (rightToLeft ? 1 : -1),
      ArrowDown: index + 1,
      ArrowUp: index - 1,
      Home: 0,
      End: buttons.length - 1,
    }[event.key];
    if (target === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    const next = buttons[target];
    if (!next) return;
    focus(target);
    side.preview.value = next.tokens;
  });
  on("keyup", (event) => {
    if (event.key === " ") event.preventDefault(); // Firefox clicks on release
  });
  on("focusout", () => {
    if (!drag) side.preview.value = null;
  });

  return caption;
}

/** Buttons for the words, plain text between; what no token covers is visibly unread. */
function layOut(caption: HTMLElement, state: WidgetState): Button[] {
  const buttons: Button[] = [];
  const nodes: Node[] = [];
  for (const part of partsOf(state.caption.value, state.tokens.value)) {
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
    const { text, tokens } = part.word;
    const node = element(
      "button",
      "exclip-word",
      {
        type: "button",
        tabindex: buttons.length === 0 ? "0" : "-1",
        "data-testid": "exclip-word",
        "data-tokens": tokens.join(","),
      },
      text,
    );
    buttons.push({ node, tokens, text, gap: null });
    nodes.push(node);
  }
  caption.replaceChildren(...nodes);
  return buttons;
}

function paintValues(buttons: readonly Button[], lens: Lens, theme: Theme): void {
  const values = lens.tint.value;
  const scale = lens.tintScale.value || 1;
  buttons.forEach(({ node, text }, i) => {
    const value = values?.[i];
    if (value === undefined) {
      node.removeAttribute("data-value");
      node.removeAttribute("aria-label");
      node.removeAttribute("style");
      return;
    }
    const x = value / scale;
    node.dataset.value = String(value);
    node.setAttribute("aria-label", `${text}, ${signed(value)}`);
    // The tint behind the letters stays at half the scale's strength: they must be read.
    node.style.setProperty("--exclip-tint", css(colormaps[theme].at(x / 2), Math.abs(x) * 0.6));
    // The column's height is its value; its colour only has to show the sign.
    node.style.setProperty("--exclip-bar", css(colormaps[theme].at(x / 2 + Math.sign(x) / 2)));
    node.style.setProperty("--exclip-up", String(Math.max(0, x)));
    node.style.setProperty("--exclip-down", String(Math.max(0, -x)));
  });
}
