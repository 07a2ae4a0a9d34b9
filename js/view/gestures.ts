/** One side of the matrix, words or patches: what one view shows of it, and how gestures select in it. */
import { computed, type ReadonlySignal, type Signal, signal } from "@preact/signals-core";
import { invert, join, type Mode, modeOf, type Selection, toggle } from "../algebra/selection.ts";

type Keys = MouseEvent | KeyboardEvent;

export interface Axis {
  /** The selection of everything. */
  readonly all: ReadonlySignal<Selection>;
  /** What is under the pointer or the cursor: shown in place of the selection, never stored. */
  readonly preview: Signal<Selection | null>;
  /** What is outlined as selected: the selection, or what the drag in progress would make it. */
  readonly selected: ReadonlySignal<Selection>;
  /** The same, or everything if it is empty. */
  readonly chosen: ReadonlySignal<Selection>;
  /** What the other side's values are summed over. */
  readonly summed: ReadonlySignal<Selection>;
  select(selection: Selection): void;
  /** Show what a drag over `indices` would select. */
  plan(indices: Selection, keys: Keys): void;
  /** Select what was dragged over or clicked. */
  keep(indices: Selection, keys: Keys, click: boolean): void;
  /** Add a range to what was selected before. It starts at `from`, or where extending began. */
  extend(from: number, range: (from: number) => Selection): void;
  /** Preview what the cursor has moved to. */
  point(indices: Selection): void;
  /** Forget any gesture in progress. */
  rest(): void;
  /** Act on a key that means the same on both sides; false if it is none of them. */
  act(event: KeyboardEvent): boolean;
  invert(): void;
}

export function createAxis(
  selection: ReadonlySignal<Selection>,
  all: ReadonlySignal<Selection>,
  mode: ReadonlySignal<Mode>,
  select: (selection: Selection) => void,
): Axis {
  const preview = signal<Selection | null>(null);
  const draft = signal<Selection | null>(null);
  const selected = computed(() => draft.value ?? selection.value);
  const orAll = (one: Selection) => (one.length > 0 ? one : all.value);
  /** Where Shift with the arrow keys extends from, and what was selected before. */
  let extent: { from: number; before: Selection } | null = null;

  const joined = (choose: typeof join, indices: Selection, keys: Keys) =>
    choose(selection.peek(), indices, modeOf(keys, mode.peek()));
  const axis: Axis = {
    all,
    preview,
    selected,
    chosen: computed(() => orAll(selected.value)),
    summed: computed(() => orAll(preview.value ?? selected.value)),
    select,
    plan(indices, keys) {
      preview.value = null;
      draft.value = joined(join, indices, keys);
    },
    keep(indices, keys, click) {
      axis.rest();
      select(joined(click ? toggle : join, indices, keys));
    },
    extend(from, range) {
      extent ??= { from, before: selection.peek() };
      preview.value = null;
      select(join(extent.before, range(extent.from), "add"));
    },
    point(indices) {
      extent = null;
      preview.value = indices;
    },
    rest() {
      extent = null;
      preview.value = null;
      draft.value = null;
    },
    act(event) {
      const command = event.ctrlKey || event.metaKey;
      if (event.key === "a" && command) select(all.peek());
      else if (event.key === "i" && !command) axis.invert();
      else return false;
      return true;
    },
    invert: () => select(invert(selected.peek(), all.peek())),
  };
  return axis;
}
