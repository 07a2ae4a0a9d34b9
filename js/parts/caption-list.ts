/**
 * The captions, ranked by their similarity to the image. A click explains one;
 * with Shift, or while comparing, a click makes another one its foil.
 */
import { computed, signal } from "@preact/signals-core";
import { clamp, range } from "../algebra/numbers.ts";
import type { Changes, TextName } from "../protocol.ts";
import type { Listed } from "../state/listed.ts";
import type { WidgetState } from "../state/widget-state.ts";
import { enable, textButton } from "../ui/buttons.ts";
import { box, claim, element, give, refill, write } from "../ui/dom.ts";
import { NO_KERNEL } from "../ui/message.ts";
import type { Scope } from "../ui/scope.ts";
import { fixed, percent } from "../view/number-format.ts";

/** How many rows Page Up and Page Down move. */
const PAGE = 10;

const RULES = {
  softmax: "Probability among these captions, using the model's own logit scale",
  sigmoid: "Probability of each caption by itself, using the model's own logit scale and bias",
} as const;

interface Row {
  node: HTMLElement;
  rank: HTMLElement;
  /** Says whether it is the caption or the foil, if there are both. */
  part: HTMLElement;
  similarity: HTMLElement;
  /** What kind of probability it is, for screen readers. */
  rule: HTMLElement;
  probability: HTMLElement;
}

export function captionList(state: WidgetState, listed: Listed, scope: Scope): HTMLElement {
  const { questions } = state;
  /** Whether a click chooses the foil: touch screens have no Shift. */
  const comparing = signal(false);
  /** Return the text asked for, even before the answer, unless it was refused; otherwise the current one. */
  const wanted = (topic: TextName): string | null => {
    const question = questions.open.value[topic];
    if (question && question.refused === null) return question.value as string | null;
    return topic === "foil" && !state.hasFoil.value ? null : state.texts[topic].caption.value;
  };
  const chosen = computed(() => ({ caption: wanted("caption"), foil: wanted("foil") }));
  /** Indices of the captions, the most similar one first; in the order given until that is known. */
  const order = computed(() => {
    const similarity = listed.scores.value?.similarities ?? [];
    return range(listed.captions.value.length).sort(
      (a, b) => (similarity[b] ?? 0) - (similarity[a] ?? 0),
    );
  });

  const compare = textButton("compare", "exclip-compare", scope, () => {
    comparing.value = !comparing.peek();
  });
  compare.classList.add("exclip-button");
  const rule = element("span", "exclip-listed-number");
  const head = box(
    "exclip-listed-head",
    box("exclip-listed-title", "captions", compare),
    element("span", "exclip-listed-number", "similarity"),
    rule,
  );
  const list = element("div", "exclip-listed-rows", {
    "data-testid": "exclip-listed",
    role: "listbox",
    "aria-label": "Captions by similarity",
    "aria-multiselectable": "true",
  });
  const node = box("exclip-listed", head, list);
  let rows: Row[] = [];

  function choose(index: number, beside: boolean): void {
    const text = listed.captions.peek()[index];
    const { caption, foil } = chosen.peek();
    if (text === undefined || !state.answering.peek()) return;
    const changes: Changes = {};
    if (!beside) {
      if (text !== caption) changes.caption = text;
      if (foil !== null) changes.foil = null;
    } else if (text !== caption) {
      changes.foil = text === foil ? null : text;
    } else if (foil !== null) {
      Object.assign(changes, { caption: foil, foil: null });
    }
    if (Object.keys(changes).length > 0) questions.change(changes);
    if (changes.foil) awaited = changes.foil;
  }

  /** The foil that was chosen here: someone who compares two captions wants to see the difference. */
  let awaited: string | null = null;
  scope.effect(() => {
    if (!state.hasFoil.value || state.texts.foil.caption.value !== awaited) return;
    awaited = null;
    state.lookAt("difference");
  });

  const indexOf = (target: EventTarget | null) => {
    const row = (target as Element).closest("[role=option]");
    return rows.findIndex(({ node }) => node === row);
  };
  scope.on(list, "click", ({ target, shiftKey }) => {
    choose(indexOf(target), shiftKey || comparing.peek());
  });
  scope.on(list, "focusin", ({ target }) => stop(indexOf(target)));
  scope.on(list, "keydown", (event) => {
    const index = indexOf(event.target);
    const { key, shiftKey, ctrlKey, metaKey, altKey } = event;
    if (index < 0 || ctrlKey || metaKey || altKey) return;
    if (key === "Enter" || key === " ") {
      claim(event);
      choose(index, shiftKey || comparing.peek());
      return;
    }
    const end = rows.length - 1;
    const at = order.peek().indexOf(index);
    const next = {
      ArrowDown: at + 1,
      ArrowUp: at - 1,
      PageDown: at + PAGE,
      PageUp: at - PAGE,
      Home: 0,
      End: end,
    }[key];
    if (next === undefined) return;
    claim(event);
    rows[order.peek()[clamp(next, 0, end)] ?? 0]?.node.focus();
  });

  /** Make one row the list's Tab stop. */
  function stop(index: number): void {
    for (const [other, { node }] of rows.entries()) node.tabIndex = other === index ? 0 : -1;
  }

  /** Scroll the list, not the page around it. */
  function reveal(row: HTMLElement): void {
    const [top, height] = [row.offsetTop - list.offsetTop, row.offsetHeight];
    const most = top - (list.clientHeight - height);
    list.scrollTop = clamp(list.scrollTop, Math.max(0, most), top);
  }

  scope.effect(() => {
    rows = listed.captions.value.map((caption) => {
      const span = (name: string, ...text: string[]) => element("span", name, ...text);
      const row = {
        rank: span("exclip-listed-rank"),
        part: span("exclip-listed-part"),
        similarity: span("exclip-listed-number"),
        rule: span("exclip-heard"),
        probability: span("exclip-listed-number"),
      };
      const node = element(
        "div",
        "exclip-listed-row",
        { role: "option", tabindex: -1 },
        row.rank,
        element("span", "exclip-listed-text", { dir: "auto" }, caption),
        row.part,
        span("exclip-heard", ", similarity "),
        row.similarity,
        row.rule,
        row.probability,
      );
      return { node, ...row };
    });
    refill(
      list,
      rows.map(({ node }) => node),
    );
  });
  scope.effect(() => {
    const scores = listed.scores.value;
    give(list, { "aria-busy": !scores });
    // Old scores stay, dimmed, until new ones arrive.
    if (!scores) return;
    const { similarities, probabilities } = scores;
    rule.textContent = scores.rule;
    rule.dataset.hint = scores.rule ? RULES[scores.rule] : "";
    node.classList.toggle("exclip-without-chance", !probabilities);
    const focused = list.querySelector<HTMLElement>(":focus"); // in a shadow root, too
    for (const [rank, index] of order.value.entries()) {
      const row = rows[index];
      if (!row) continue;
      const probability = probabilities?.[index];
      write(row.rank, String(rank + 1));
      write(row.similarity, fixed(Math.round(1000 * (similarities[index] ?? 0)), 3));
      write(row.rule, scores.rule ? `, ${scores.rule} probability ` : "");
      write(row.probability, probability === undefined ? "" : percent(probability));
      row.node.style.setProperty("--exclip-share", String(probability ?? 0));
    }
    list.replaceChildren(...order.value.flatMap((index) => rows[index]?.node ?? []));
    focused?.focus();
  });
  scope.effect(() => {
    void listed.scores.value;
    const captions = listed.captions.value;
    const { caption, foil } = chosen.value;
    for (const [index, { node, part }] of rows.entries()) {
      const text = captions[index];
      const is = text === caption ? "caption" : text === foil ? "foil" : "";
      give(node, { "aria-selected": is !== "" });
      write(part, foil === null ? "" : is);
    }
    const at = captions.indexOf(caption ?? "");
    stop(Math.max(0, at));
    const row = rows[at];
    // Wait until it has been laid out.
    if (row) requestAnimationFrame(() => reveal(row.node));
  });
  scope.effect(() => {
    const answering = state.answering.value;
    give(list, { "aria-disabled": !answering });
    give(compare, { "aria-pressed": comparing.value });
    compare.hidden = state.choices.value === null;
    const hint = "Compare what is clicked with the caption (Shift-click)";
    enable(compare, answering, answering ? hint : NO_KERNEL);
    node.hidden = listed.captions.value.length === 0;
  });
  return node;
}
