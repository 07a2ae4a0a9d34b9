/** The outline of a set of patches: the edges that belong to only one of its patches. */

import { placeOf } from "./regions.ts";

/** In grid units: from (x1, y1) to (x2, y2). */
export type Edge = readonly [x1: number, y1: number, x2: number, y2: number];

export function outlineOf(patches: Iterable<number>, columns: number): Edge[] {
  const inside = new Set(patches);
  const edges: Edge[] = [];
  for (const patch of inside) {
    const [row, column] = placeOf(patch, columns);
    if (!inside.has(patch - columns)) edges.push([column, row, column + 1, row]);
    if (!inside.has(patch + columns)) edges.push([column, row + 1, column + 1, row + 1]);
    // At the sides of the grid, the neighbour's index would wrap to another row.
    if (column === 0 || !inside.has(patch - 1)) edges.push([column, row, column, row + 1]);
    if (column === columns - 1 || !inside.has(patch + 1)) {
      edges.push([column + 1, row, column + 1, row + 1]);
    }
  }
  return edges;
}
