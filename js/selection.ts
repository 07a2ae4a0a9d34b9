/** Selections are sorted lists of indices without doubles; every function returns a new one. */

export type Selection = readonly number[];

/** How a gesture joins what is selected already. */
export type Mode = "replace" | "add" | "subtract";

export function modeOf(event: { shiftKey: boolean; altKey: boolean }): Mode {
  if (event.altKey) return "subtract";
  return event.shiftKey ? "add" : "replace";
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

/** The patches between two corners, both included, in whatever order they are given. */
export function box(a: number, b: number, columns: number): number[] {
  const [rowA, columnA] = [Math.floor(a / columns), a % columns];
  const [rowB, columnB] = [Math.floor(b / columns), b % columns];
  const patches: number[] = [];
  for (let r = Math.min(rowA, rowB); r <= Math.max(rowA, rowB); r++) {
    for (let c = Math.min(columnA, columnB); c <= Math.max(columnA, columnB); c++) {
      patches.push(r * columns + c);
    }
  }
  return patches;
}
