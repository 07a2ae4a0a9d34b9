/** The caption: its words as buttons, tinted by their values. */
import { signal } from "@preact/signals-core";
import { partsOf } from "../algebra/words.ts";
import type { ExplainedText } from "../state/looks.ts";
import type { WidgetState } from "../state/widget-state.ts";
import { button, element, give, panel, refill } from "../ui/dom.ts";
import type { Scope } from "../ui/scope.ts";
import { signed } from "../view/number-format.ts";
import type { Settings } from "../view/settings.ts";
import type { ViewState } from "../view/view-state.ts";
import { wordGestures } from "./word-gestures.ts";
import { paintTint, tinted } from "./word-tint.ts";

/** A word on the screen, whichever element it is. */
interface LaidWord<Node extends HTMLElement> {
  node: Node;
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
  const caption = panel("exclip-caption", "group", "Caption", { dir: "auto" });
  let buttons: LaidWord<HTMLButtonElement>[] = [];
  /** Set after each layout: new buttons need everything that the old ones had. */
  const laid = signal({});
  const axis = view.tokens;
  const forget = wordGestures(caption, () => buttons, axis, scope);

  scope.effect(() => {
    // A caption laid out anew forgets what the pointer was doing in the old one.
    forget();
    caption.classList.toggle("exclip-pieces", settings.pieces.value);
    buttons = layOut(caption, state, settings.pieces.value, button);
    buttons.forEach(({ node }, i) => {
      give(node, { tabindex: i === 0 ? 0 : -1, "data-testid": "exclip-word" });
    });
    laid.value = {};
  });
  scope.effect(() => {
    void laid.value;
    paintValues(buttons, view);
  });
  scope.effect(() => {
    void laid.value;
    const under = axis.preview.value;
    for (const { node, tokens } of buttons) {
      const shown = under !== null && tokens.some((t) => under.includes(t));
      node.classList.toggle("exclip-under", shown);
    }
  });
  scope.effect(() => {
    void laid.value;
    const selected = new Set(axis.selected.value);
    const whole = buttons.map(({ tokens }) => tokens.every((t) => selected.has(t)));
    buttons.forEach(({ node, tokens, gap }, i) => {
      const some = tokens.some((t) => selected.has(t));
      node.ariaPressed = whole[i] ? "true" : some ? "mixed" : "false";
      node.classList.toggle("exclip-joined", Boolean(gap && whole[i] && whole[i + 1]));
      const before = buttons[i - 1];
      node.classList.toggle("exclip-joins", Boolean(before?.gap && whole[i] && whole[i - 1]));
    });
  });

  return caption;
}

/** Lay out an element for each word and plain text between; text that no token covers is marked as unread. */
export function layOut<Word extends HTMLElement>(
  caption: HTMLElement,
  text: Pick<ExplainedText, "caption" | "tokens">,
  pieces: boolean,
  make: (className: string, attributes: Record<string, string>, letters: Node) => Word,
): LaidWord<Word>[] {
  const words: LaidWord<Word>[] = [];
  const nodes: Node[] = [];
  for (const part of partsOf(text.caption.value, text.tokens.value, pieces)) {
    if ("between" in part) {
      const before = nodes.at(-1);
      const last = words.at(-1);
      if (part.between === " " && last && before === last.node) {
        // Kept on the line of its word, so that a phrase has one outline.
        last.gap = element("span", "exclip-gap", " ");
        nodes[nodes.length - 1] = element("span", "exclip-phrase", last.node, last.gap);
      } else if (part.between.trim() === "") {
        nodes.push(document.createTextNode(part.between));
      } else {
        nodes.push(element("span", "exclip-unread", part.between));
      }
      continue;
    }
    const { text, tokens, special } = part.word;
    const className = special ? "exclip-word exclip-special" : "exclip-word";
    const node = make(className, { "data-tokens": tokens.join(",") }, tinted(text));
    words.push({ node, tokens, text, gap: null });
    nodes.push(node);
  }
  refill(caption, nodes);
  return words;
}

function paintValues(buttons: readonly LaidWord<HTMLElement>[], view: ViewState): void {
  const values = view.tint.value;
  const end = view.tintScale.end.value;
  const ink = view.ink.value;
  buttons.forEach(({ node, text }, i) => {
    const value = values?.[i];
    paintTint(node, ink, value, end);
    node.ariaLabel = value === undefined ? null : `${text}, ${signed(value)}`;
  });
}
