/** The numbers as tables, for anyone who wants to read, sort or hear them. */
import { computed, type ReadonlySignal, signal } from "@preact/signals-core";
import { heatOf, sumOf, tintOf } from "../algebra/interactions.ts";
import { placeOf } from "../algebra/regions.ts";
import { join } from "../algebra/selection.ts";
import type { WidgetState } from "../state/widget-state.ts";
import { switchOf } from "../ui/buttons.ts";
import { button, element, panel, refill } from "../ui/dom.ts";
import { icons } from "../ui/icons.ts";
import type { Scope } from "../ui/scope.ts";
import { aligned } from "../view/number-format.ts";
import type { ViewState } from "../view/view-state.ts";

/** Patches listed; the others are only on the image. */
const PATCHES = 20;

interface Row {
  key: string;
  /** What the row is about, and what a click on it selects. */
  name: string;
  selected: boolean;
  select(): void;
  values: readonly number[];
}

/** Return the button that opens the tables, and where they open. */
export function tables(
  state: WidgetState,
  view: ViewState,
  scope: Scope,
): { button: HTMLElement; node: HTMLElement } {
  const open = signal(false);

  const words = computed<Row[]>(() => {
    const a = state.interactions.value;
    if (!open.value || !a) return [];
    const chosen = view.tokens.selected.value;
    const all = tintOf(a, view.region.all.value);
    const region = tintOf(a, view.region.selected.value);
    const special = state.tokens.value.flatMap(({ special, text }, t) =>
      special ? [{ text, tokens: [t] }] : [],
    );
    const shown = view.units.value.filter((unit) => !unit.special);
    return [...shown, ...special].map(({ text, tokens }) => {
      const selected = tokens.every((t) => chosen.includes(t));
      return {
        key: tokens.join(),
        name: text,
        selected,
        select: () => view.tokens.select(join(chosen, tokens, selected ? "subtract" : "add")),
        values: [all, region, a.cls].map((of) => sumOf(of, tokens)),
      };
    });
  });
  const places = computed<Row[]>(() => {
    const a = state.interactions.value;
    if (!open.value || !a) return [];
    // Not the heat shown: a preview should not shuffle what is being read.
    const heat = heatOf(a, view.tokens.chosen.value);
    const chosen = view.region.selected.value;
    const size = (patch: number) => Math.abs(heat[patch] ?? 0);
    const listed = view.region.all.value
      .slice()
      .sort((p, q) => size(q) - size(p))
      .slice(0, PATCHES);
    return listed.map((patch) => {
      const selected = chosen.includes(patch);
      const [row, column] = placeOf(patch, a.columns);
      return {
        key: String(patch),
        name: `row ${row + 1}, column ${column + 1}`,
        selected,
        select: () => view.region.select(join(chosen, [patch], selected ? "subtract" : "add")),
        values: [heat[patch] ?? 0],
      };
    });
  });

  const node = element(
    "div",
    "exclip-tables",
    { "data-testid": "exclip-tables" },
    table("Words", "word", ["whole image", "selected patches", "class token"], words, scope),
    table("Strongest patches", "patch", ["value"], places, scope),
  );
  scope.effect(() => {
    node.hidden = !open.value;
  });
  scope.effect(() => {
    node.classList.toggle("exclip-no-region", view.region.selected.value.length === 0);
  });
  const name = "Table of the numbers";
  return { button: switchOf(name, icons.table, open, "aria-expanded", scope), node };
}

function table(
  caption: string,
  first: string,
  titles: readonly string[],
  rows: ReadonlySignal<readonly Row[]>,
  scope: Scope,
): HTMLElement {
  /** The column to sort by, and which way; null for the original order. */
  const order = signal<{ column: number; up: boolean } | null>(null);
  const heads = [first, ...titles].map((title, index) => {
    const sort = button("exclip-sort", title);
    const column = index - 1;
    scope.on(sort, "click", () => {
      const now = order.peek();
      const again = now?.column === column;
      // A third click restores the original order.
      order.value = again && now.up ? null : { column, up: again || column < 0 };
    });
    return { cell: element("th", "", { scope: "col" }, sort), column };
  });
  const body = element("tbody", "");
  let shown: Row[] = [];
  scope.on(body, "click", ({ target }) => {
    const index = [...body.querySelectorAll("button")].indexOf(target as HTMLButtonElement);
    shown[index]?.select();
  });
  scope.effect(() => {
    const by = order.value;
    for (const { cell, column } of heads) {
      const sorted = by?.column === column ? (by.up ? "ascending" : "descending") : "none";
      cell.ariaSort = sorted;
    }
    shown = [...rows.value];
    if (by) shown.sort((a, b) => compare(a, b, by.column) * (by.up ? 1 : -1));
    const texts = titles.map((_, i) => aligned(shown.map(({ values }) => values[i] ?? 0)));
    refill(
      body,
      shown.map(({ key, name, selected, values }, i) =>
        element(
          "tr",
          "",
          element(
            "th",
            "",
            { scope: "row" },
            button(
              "exclip-entry",
              { "aria-pressed": selected, "data-row": key, dir: "auto" },
              name,
            ),
          ),
          ...values.map((value, column) =>
            element("td", "", { "data-value": value }, texts[column]?.[i] ?? ""),
          ),
        ),
      ),
      // A choice made in the table keeps the focus on its entry.
      (entry) => entry.dataset.row,
    );
  });
  return panel(
    "exclip-table",
    "region",
    caption,
    { tabindex: "0" },
    element(
      "table",
      "",
      element("caption", "", caption),
      element("thead", "", element("tr", "", ...heads.map(({ cell }) => cell))),
      body,
    ),
  );
}

function compare(a: Row, b: Row, column: number): number {
  if (column < 0) return a.name.localeCompare(b.name);
  return (a.values[column] ?? 0) - (b.values[column] ?? 0);
}
