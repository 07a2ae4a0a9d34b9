/** The receipt: how the similarity breaks down, as seen from the selection. */
import { computed, type ReadonlySignal } from "@preact/signals-core";
import { accountOf, type PartName } from "../algebra/account.ts";
import { extent, range } from "../algebra/numbers.ts";
import { invert } from "../algebra/selection.ts";
import { wordsOf } from "../algebra/words.ts";
import type { Look } from "../state/looks.ts";
import type { WidgetState } from "../state/widget-state.ts";
import { attended } from "../ui/attended.ts";
import { rove } from "../ui/buttons.ts";
import { box, element, write } from "../ui/dom.ts";
import type { Scope } from "../ui/scope.ts";
import { css } from "../view/colormap.ts";
import { patchCount, percent, rounded, signed } from "../view/number-format.ts";
import type { ViewState } from "../view/view-state.ts";

const TEXTS: Record<PartName | "similarity", [label: string, note: string]> = {
  selection: ["", "What is selected"],
  rest: ["other words × patches", "All other words and patches"],
  outlier: ["outlier patches", "All words with the patches in rings"],
  special: ["special tokens", "Start, end and padding, with all patches"],
  class: ["class token", "All tokens with the class token"],
  words: ["words alone", "All tokens with the reference image"],
  patches: ["patches alone", "All patches with the reference caption"],
  reference: ["reference terms", "What both references share"],
  residual: ["quadrature residual", "What the quadrature leaves out"],
  unexplained: ["not accounted for", "What this method leaves out"],
  similarity: ["similarity", "The sum of all parts"],
};

const SUMS: Record<Look, string> = {
  caption: "similarity",
  foil: "similarity of the foil",
  difference: "difference of similarities",
};

const ORDER = Object.keys(TEXTS) as (keyof typeof TEXTS)[];

export interface Receipt {
  node: HTMLElement;
  /** The selection and its value in words, for screen readers. */
  spoken: ReadonlySignal<string>;
}

export function receipt(state: WidgetState, view: ViewState, scope: Scope): Receipt {
  const what = computed(() => describe(state, view));
  const account = computed(() => {
    const a = state.interactions.value;
    const { value: whole } = state.summary;
    // A damaged state may have huge or missing numbers, which would not add up.
    const known =
      whole &&
      Number.isFinite(whole.similarity) &&
      Object.values(whole)
        .flat()
        .every((one) => Math.abs(one ?? 0) < 1e6)
        ? whole
        : null;
    const { tokens, region } = view;
    const { value: patches } = region.selected;
    const others = invert(known?.outliers ?? [], region.all.value);
    const where = patches.length > 0 ? patches : others;
    return a && accountOf(a, tokens.all.value, tokens.chosen.value, where, known);
  });
  const special = computed(() => invert(view.tokens.all.value, range(state.tokens.value.length)));

  const rows = ORDER.map((name) => ({ name, row: row(name) }));
  const note = box("exclip-explain");
  const list = element("div", "", { role: "list" }, ...rows.map(({ row }) => row.node));
  const node = element("div", "exclip-receipt", { "data-testid": "exclip-readout" }, list, note);
  rove(list, scope);

  const part = attended(list, "[data-figure]", scope);
  const at = computed(() => part.value?.dataset.figure);

  scope.effect(() => {
    const { parts, similarity } = account.value ?? { parts: [], similarity: null };
    const values = parts.map(({ value }) => value);
    const ends = [0];
    for (const value of values) ends.push((ends.at(-1) ?? 0) + value);
    const texts = rounded(values, similarity ?? ends.at(-1) ?? 0);
    const sum = SUMS[state.look.value];
    list.ariaLabel = `What the ${sum} is made of`;
    const [from, to] = extent(...ends);
    const place = (value: number) => (100 * (value - from)) / (to - from || 1);
    list.style.setProperty("--exclip-zero", `${place(0)}%`);
    for (const { name, row } of rows) {
      const index = parts.findIndex((part) => part.name === name);
      const total = name === "similarity";
      const value = total ? similarity : (values[index] ?? null);
      // The rows of the kernel's own numbers keep their places until the numbers are known.
      const open = similarity === null && name !== "unexplained" && name !== "outlier";
      row.node.hidden = value === null && !open && !total && name !== "selection";
      row.show(
        name === "selection" ? what.value : total ? sum : TEXTS[name][0],
        value,
        value === null ? "–" : ((total ? texts.total : texts.summands[index]) ?? ""),
        noteOf(name, value, similarity, sum),
      );
      const [a, b] = total ? [0, similarity ?? 0] : [ends[index] ?? 0, ends[index + 1] ?? 0];
      const ink = total ? "currentColor" : css(view.ink.value.map.at(Math.sign(b - a) * 0.7));
      row.draw(...extent(place(a), place(b)), ink);
    }
  });
  scope.effect(() => {
    void account.value;
    const name =
      at.value ??
      (account.value?.parts.at(-1)?.name === "unexplained" ? "unexplained" : "similarity");
    write(note, rows.find((one) => one.name === name)?.row.node.dataset.note ?? "");
  });
  scope.effect(() => {
    if (at.value !== "special") return;
    view.tokens.preview.value = special.value;
    return () => {
      view.tokens.preview.value = null;
    };
  });

  const spoken = computed(() => {
    const selection = account.value?.parts[0];
    return selection ? `${what.value}: ${signed(selection.value)}` : "";
  });
  return { node, spoken };
}

function noteOf(
  name: PartName | "similarity",
  value: number | null,
  similarity: number | null,
  sum: string,
) {
  const [, note] = TEXTS[name];
  if (value === null || !similarity || name === "similarity") return `${note}.`;
  return `${note}: ${percent(value / similarity)} of the ${sum}.`;
}

function row(name: string) {
  const label = element("span", "exclip-label");
  const fill = element("span", "exclip-fill");
  const number = element("span", "exclip-number");
  const track = element("span", "exclip-track", fill);
  const node = element(
    "div",
    `exclip-part exclip-part-${name}`,
    { role: "listitem", "data-figure": name, "data-stop": "" },
    label,
    track,
    number,
  );
  return {
    node,
    show(text: string, value: number | null, shown: string, note: string) {
      write(label, text);
      write(number, shown);
      node.dataset.note = note;
      node.ariaLabel = `${text}: ${shown}. ${note}`;
      if (value === null) delete node.dataset.value;
      else node.dataset.value = String(value);
    },
    draw(from: number, to: number, ink: string) {
      fill.style.left = `${from}%`;
      fill.style.right = `${100 - to}%`;
      fill.style.background = ink;
    },
  };
}

/** Describe the two sides that are summed over, such as "red boat × 6 patches". */
function describe(state: WidgetState, view: ViewState): string {
  const tokens = view.tokens.selected.value;
  const patches = view.region.selected.value.length;
  const chosen = new Set(tokens);
  const units = view.units.value.flatMap((unit) => {
    const rows = unit.special ? [] : unit.tokens.filter((t) => chosen.has(t));
    if (rows.length === unit.tokens.length) return [unit.text];
    // Of some words, only pieces are selected.
    const pieces = rows.length ? wordsOf(state.caption.value, state.tokens.value, true) : [];
    return rows.map((t) => pieces[t]?.text ?? "");
  });
  // Special tokens may belong to no word shown, yet Python may select them.
  const specials = state.tokens.value.filter(({ special }, t) => special && chosen.has(t));
  const names = [...units, ...specials.map(({ text }) => text)];
  const left =
    names.length === 0 ? "caption" : names.length > 4 ? `${names.length} words` : names.join(" ");
  return `${left} × ${patches === 0 ? "image" : patchCount(patches)}`;
}
