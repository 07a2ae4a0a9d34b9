/** What is asked: the phrase, its words, and the order. */
import { computed } from "@preact/signals-core";
import { partsOf } from "../algebra/words.ts";
import { oneOf, rove, textButton } from "../ui/buttons.ts";
import { box, button, element, give, link, refill } from "../ui/dom.ts";
import { NO_KERNEL, refusal } from "../ui/message.ts";
import type { Scope } from "../ui/scope.ts";
import { ORDERS, type Order } from "./protocol.ts";
import type { GalleryState } from "./state.ts";

const NAMES: Record<Order, readonly [text: string, hint: string]> = {
  match: ["Match", "how strongly the strongest patch matches the phrase"],
  foils: ["Foil wins", "the foil's similarity minus the caption's"],
  off_box: ["Off its box", "what share of a phrase's heat lies off its boxes"],
  special: ["Special tokens", "what share of the interactions they carry"],
  outlier: ["Outlier patches", "what share of the words' interactions they carry"],
  set: ["As stored", "the order of the set"],
};

/** The longest phrase: several times what any model reads. */
const MOST_CHARACTERS = 2000;

export function askBar(state: GalleryState, scope: Scope): HTMLElement {
  const field = element("input", "exclip-phrase-field", {
    type: "text",
    "aria-label": "Phrase",
    "data-testid": "exclip-phrase",
    autocomplete: "off",
    maxlength: MOST_CHARACTERS,
    spellcheck: "false",
    dir: "auto",
  });
  const choices = element("datalist", "");
  link(field, "list", choices);
  const refused = refusal("ask");
  link(field, "aria-describedby", refused.node);
  const words = element("div", "exclip-phrase-words", {
    role: "group",
    "aria-label": "Words of the phrase that count",
    dir: "auto",
  });
  const refresh = rove(words, scope);

  function submit(): void {
    const phrase = field.value.trim();
    if (phrase !== state.phrase.peek() || state.order.peek() !== "match") {
      if (phrase) state.ask({ phrase });
      else if (state.phrase.peek()) state.ask({ phrase: "" });
    }
  }
  const go = textButton("Find", "exclip-find", scope, submit);
  go.classList.add("exclip-button");
  scope.on(field, "keydown", ({ key, isComposing }) => {
    if (key === "Enter" && !isComposing) submit();
    else if (key === "Escape") field.value = state.phrase.peek();
  });
  scope.effect(() => {
    field.value = state.phrase.value;
  });
  scope.effect(() => {
    field.placeholder = state.anyPhrase.value
      ? "Any phrase, such as “a red boat”"
      : "A caption of the set, or words of one";
  });
  scope.effect(() => {
    choices.replaceChildren(
      ...state.suggestions.value.map((value) => element("option", "", { value })),
    );
  });
  scope.effect(() => {
    refused.show(state.refused.value);
    give(field, { "aria-invalid": state.refused.value !== null });
  });
  scope.effect(() => {
    give(go, { "aria-disabled": !state.answering.value });
    go.dataset.hint = state.answering.value ? "Search all images for it" : NO_KERNEL;
  });

  const parts = computed(() => partsOf(state.phrase.value, state.tokens.value));
  scope.effect(() => {
    const all = parts.value.flatMap((part) => ("word" in part ? [part.word] : []));
    words.hidden = all.length < 2;
    refill(
      words,
      parts.value.map((part) => {
        if ("between" in part) return part.between;
        const { text, tokens } = part.word;
        const node = button("exclip-word exclip-phrase-word", { value: tokens.join() }, text);
        node.dataset.hint = "Only pressed words count; if none is pressed, all do";
        return node;
      }),
    );
    refresh();
  });
  const nodes = () => [...words.querySelectorAll("button")];
  const rowsOf = ({ value }: HTMLButtonElement) => value.split(",").map(Number);
  scope.effect(() => {
    void parts.value;
    const chosen = state.words.value;
    const counts = state.order.value === "match";
    const disabled = !state.answering.value || state.isChangingPhrase.value;
    for (const node of nodes()) {
      const pressed = counts && rowsOf(node).every((row) => chosen.includes(row));
      give(node, { "aria-pressed": pressed, "aria-disabled": disabled });
    }
  });
  scope.on(words, "click", ({ target }) => {
    const node = (target as Element).closest("button");
    if (!node) return;
    const rows = rowsOf(node);
    const chosen = new Set(state.order.peek() === "match" ? state.words.peek() : []);
    const all = rows.every((row) => chosen.has(row));
    for (const row of rows) all ? chosen.delete(row) : chosen.add(row);
    state.ask({ words: [...chosen].sort((a, b) => a - b), order: "match" });
  });

  const orders = oneOf<Order>(
    "Order",
    "exclip-text",
    () =>
      ORDERS.filter((order) => state.orders.value.includes(order)).map((order) => {
        const [text, hint] = NAMES[order];
        return [order, text, `${text}: ${hint}`] as const;
      }),
    () => state.order.value,
    (order) => {
      if (order === "match" && !state.phrase.peek()) field.focus();
      else state.ask({ order });
    },
    scope,
  );
  scope.effect(() => {
    for (const node of orders.querySelectorAll("button")) {
      give(node, { "aria-disabled": !state.answering.value });
    }
  });
  const phrase = box("exclip-phrase-line", field, choices, go);
  scope.effect(() => {
    phrase.hidden = !state.orders.value.includes("match");
  });
  return element(
    "div",
    "exclip-ask",
    { role: "search" },
    phrase,
    words,
    refused.node,
    box("exclip-orders", element("span", "exclip-name-of", "Order"), orders),
  );
}
