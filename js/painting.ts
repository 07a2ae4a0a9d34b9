/** Everything drawn over the picture, in device pixels. */
import { heatColor, type Ink } from "./colormap.ts";
import { element } from "./dom.ts";
import { outlineOf } from "./outline.ts";
import type { Grid } from "./protocol.ts";
import type { Point } from "./regions.ts";
import type { Selection } from "./selection.ts";
import type { Theme } from "./theme.ts";

type Context = CanvasRenderingContext2D;

/** Grid units to device pixels, rounded, so that neighbours share an edge without a seam. */
export class Geometry {
  readonly grid: Grid;
  readonly width: number;
  readonly height: number;
  /** Of the crop. */
  readonly left: number;
  readonly top: number;
  readonly right: number;
  readonly bottom: number;

  constructor(grid: Grid, width: number, height: number) {
    this.grid = grid;
    this.width = width;
    this.height = height;
    this.left = Math.round(grid.left * width);
    this.top = Math.round(grid.top * height);
    this.right = Math.round((grid.left + grid.width) * width);
    this.bottom = Math.round((grid.top + grid.height) * height);
  }

  x(column: number): number {
    return this.left + Math.round(((this.right - this.left) * column) / this.grid.columns);
  }

  y(row: number): number {
    return this.top + Math.round(((this.bottom - this.top) * row) / this.grid.rows);
  }
}

/** What the model never saw: veiled, behind a fine frame around the crop. */
export function paintOutside(context: Context, map: Geometry, theme: Theme): void {
  const { left, top } = map;
  const [width, height] = [map.right - left, map.bottom - top];
  if (width >= map.width && height >= map.height) return;
  context.beginPath();
  context.rect(0, 0, map.width, map.height);
  context.rect(left, top, width, height);
  context.fillStyle = theme === "dark" ? "rgb(17 17 17 / 0.66)" : "rgb(255 255 255 / 0.66)";
  context.fill("evenodd");
  context.strokeStyle = theme === "dark" ? "rgb(255 255 255 / 0.7)" : "rgb(0 0 0 / 0.6)";
  context.lineWidth = 1;
  context.strokeRect(left - 0.5, top - 0.5, width + 1, height + 1);
}

/** Paints heat through a small canvas with a pixel for each patch, which is fast at any size. */
export function heatPainter() {
  const cells = element("canvas", "");
  const small = cells.getContext("2d");
  let painted: unknown[] = [];
  return (
    context: Context,
    map: Geometry,
    heat: Float64Array,
    scale: number,
    ink: Ink,
    smooth: boolean,
  ): void => {
    const { rows, columns } = map.grid;
    if (scale === 0 || !small) return;
    const now = [heat, scale, ink, columns];
    if (now.some((one, i) => one !== painted[i])) {
      painted = now;
      cells.width = columns;
      cells.height = rows;
      const image = small.createImageData(columns, rows);
      const { data } = image;
      heat.forEach((value, patch) => {
        const [[r, g, b], alpha] = heatColor(ink, value / scale);
        data.set([r, g, b, Math.round(255 * alpha)], 4 * patch);
      });
      small.putImageData(image, 0, 0);
    }
    context.imageSmoothingEnabled = smooth;
    context.imageSmoothingQuality = "low"; // linear between the centres of patches
    const { left, top, right, bottom } = map;
    context.drawImage(cells, left, top, right - left, bottom - top);
  };
}

/** Light on dark, so that it shows on any picture. */
export function paintOutline(
  context: Context,
  map: Geometry,
  patches: Selection,
  width: number,
  inner: string,
  outer: string,
): void {
  context.beginPath();
  for (const [x1, y1, x2, y2] of outlineOf(patches, map.grid.columns)) {
    context.moveTo(map.x(x1), map.y(y1));
    context.lineTo(map.x(x2), map.y(y2));
  }
  strokeTwice(context, width, inner, outer);
}

/** The lasso's path so far, and how it would close. */
export function paintPath(context: Context, map: Geometry, path: readonly Point[], unit: number) {
  const at = ({ x, y }: Point) =>
    [
      map.left + ((map.right - map.left) * x) / map.grid.columns,
      map.top + ((map.bottom - map.top) * y) / map.grid.rows,
    ] as const;
  context.beginPath();
  for (const point of path) context.lineTo(...at(point));
  context.setLineDash([4 * unit, 4 * unit]);
  context.closePath();
  strokeTwice(context, 1.25 * unit, "#fff", "#000");
  context.setLineDash([]);
}

/** Corner marks, so that the cursor never looks like a selection. */
export function paintCursor(context: Context, map: Geometry, patch: number, unit: number): void {
  const [row, column] = [Math.floor(patch / map.grid.columns), patch % map.grid.columns];
  const [left, top, right, bottom] = [map.x(column), map.y(row), map.x(column + 1), map.y(row + 1)];
  const arm = Math.min(right - left, bottom - top) / 3;
  context.beginPath();
  for (const [x, dx] of [[left, arm] as const, [right, -arm] as const]) {
    for (const [y, dy] of [[top, arm] as const, [bottom, -arm] as const]) {
      context.moveTo(x + dx, y);
      context.lineTo(x, y);
      context.lineTo(x, y + dy);
    }
  }
  strokeTwice(context, 2.5 * unit, "#fff", "#000");
}

function strokeTwice(context: Context, width: number, inner: string, outer: string): void {
  context.lineCap = "square";
  for (const [color, wide] of [[outer, 2 * width] as const, [inner, width] as const]) {
    context.strokeStyle = color;
    context.lineWidth = wide;
    context.stroke();
  }
}
