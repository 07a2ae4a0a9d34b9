/** Selections are sorted lists of indices without duplicates; every function returns a new one. */

export type Selection = readonly number[];

/** How a gesture combines with the current selection. */
export type Mode = "replace" | "add" | "subtract";

/** Return the mode that the held keys mean, or else the one chosen with the buttons. */
export function modeOf(event: { shiftKey: boolean; altKey: boolean }, chosen: Mode): Mode {
  if (event.altKey) return "subtract";
  return event.shiftKey ? "add" : chosen;
}

export function sorted(indices: Iterable<number>): number[] {
  return [...new Set(indices)].sort((a, b) => a - b);
}

export function same(a: Selection, b: Selection): boolean {
  return a.length === b.length && a.every((index, i) => index === b[i]);
}

/** Return the selection after dragging over `indices`. */
export function join(selection: Selection, indices: Selection, mode: Mode): number[] {
  if (mode === "add") return sorted([...selection, ...indices]);
  if (mode === "subtract") {
    const gone = new Set(indices);
    return selection.filter((index) => !gone.has(index));
  }
  return sorted(indices);
}

/** Return the selection after a click on `indices`: like dragging, but a second click clears. */
export function toggle(selection: Selection, indices: Selection, mode: Mode): number[] {
  const next = join(selection, indices, mode);
  return mode === "replace" && same(selection, next) ? [] : next;
}

/** Return the part of `all` that is not selected. */
export function invert(selection: Selection, all: Selection): number[] {
  return join(all, selection, "subtract");
}
