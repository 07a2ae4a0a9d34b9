/** Sets of patches from shapes on the grid: what a box, brush or lasso selects, and connected regions. */

import { clamp, extent } from "../algebra/numbers.ts";
import type { Grid } from "../protocol.ts";
import { sorted } from "./selection.ts";

/** In grid units: patch (row, column) spans (column, row) to (column + 1, row + 1). */
export interface Point {
  readonly x: number;
  readonly y: number;
}

type Size = Pick<Grid, "rows" | "columns">;

/** Row and column of a patch. */
export const placeOf = (patch: number, columns: number): [row: number, column: number] => [
  Math.floor(patch / columns),
  patch % columns,
];

export function centerOf(patch: number, columns: number): Point {
  const [row, column] = placeOf(patch, columns);
  return { x: column + 0.5, y: row + 0.5 };
}

/** Return all patches that the box between two points touches; none if it misses the grid. */
export function boxOf(a: Point, b: Point, { rows, columns }: Size): number[] {
  const [left, right] = extent(a.x, b.x);
  const [top, bottom] = extent(a.y, b.y);
  if (right < 0 || bottom < 0 || left >= columns || top >= rows) return [];
  const within = (at: number, size: number) => clamp(Math.floor(at), 0, size - 1);
  const patches: number[] = [];
  for (let row = within(top, rows); row <= within(bottom, rows); row++) {
    for (let column = within(left, columns); column <= within(right, columns); column++) {
      patches.push(row * columns + column);
    }
  }
  return patches;
}

/** Return the patches under a round brush drawn from `a` to `b`: those it crosses or whose centres it covers. */
export function strokeOf(a: Point, b: Point, radius: number, { rows, columns }: Size): number[] {
  const patches = new Set<number>();
  const reach = Math.ceil(radius);
  const steps = Math.max(1, Math.ceil(2 * Math.hypot(b.x - a.x, b.y - a.y)));
  for (let step = 0; step <= steps; step++) {
    const x = a.x + ((b.x - a.x) * step) / steps;
    const y = a.y + ((b.y - a.y) * step) / steps;
    const around = boxOf(
      { x: x - reach, y: y - reach },
      { x: x + reach, y: y + reach },
      { rows, columns },
    );
    for (const patch of around) {
      const [row, column] = placeOf(patch, columns);
      const under = Math.floor(x) === column && Math.floor(y) === row;
      if (under || Math.hypot(column + 0.5 - x, row + 0.5 - y) <= radius) patches.add(patch);
    }
  }
  return sorted(patches);
}

/** Return the patches whose centres lie within a closed path, using the even-odd rule. */
export function lassoOf(path: readonly Point[], { rows, columns }: Size): number[] {
  const patches: number[] = [];
  for (let row = 0; row < rows; row++) {
    const y = row + 0.5;
    const crossings: number[] = [];
    path.forEach((a, i) => {
      const b = path[(i + 1) % path.length] ?? a;
      if (a.y <= y !== b.y <= y) crossings.push(a.x + ((y - a.y) / (b.y - a.y)) * (b.x - a.x));
    });
    crossings.sort((a, b) => a - b);
    for (let i = 0; i + 1 < crossings.length; i += 2) {
      const [from = 0, to = 0] = crossings.slice(i, i + 2);
      for (let column = 0; column < columns; column++) {
        if (column + 0.5 >= from && column + 0.5 < to) patches.push(row * columns + column);
      }
    }
  }
  return patches;
}

/** Return the patches that pass and are connected to `seed` by shared edges. */
export function grow(
  seed: number,
  { rows, columns }: Size,
  passes: (patch: number) => boolean,
): number[] {
  const found = new Set([seed]);
  for (const patch of found) {
    const column = patch % columns;
    const near = [patch - columns, patch + columns];
    if (column > 0) near.push(patch - 1);
    if (column < columns - 1) near.push(patch + 1);
    for (const next of near) {
      if (next >= 0 && next < rows * columns && passes(next)) found.add(next);
    }
  }
  return sorted(found);
}
