/** Selections are sorted lists of indices without doubles; every function returns a new one. */

export type Selection = readonly number[];

/** How a gesture joins what is selected already. */
export type Mode = "replace" | "add" | "subtract";

/** What the keys say, else what was chosen for hands without keys. */
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

/** The selection after dragging over `indices`. */
export function join(selection: Selection, indices: Selection, mode: Mode): number[] {
  if (mode === "add") return sorted([...selection, ...indices]);
  if (mode === "subtract") {
    const gone = new Set(indices);
    return selection.filter((index) => !gone.has(index));
  }
  return sorted(indices);
}

/** The selection after a click on `indices`: as dragging, but a second click clears. */
export function toggle(selection: Selection, indices: Selection, mode: Mode): number[] {
  const next = join(selection, indices, mode);
  return mode === "replace" && same(selection, next) ? [] : next;
}

/** What of `all` is not selected. */
export function invert(selection: Selection, all: Selection): number[] {
  return join(all, selection, "subtract");
}
