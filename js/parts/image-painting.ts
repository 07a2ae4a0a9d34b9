/** Everything drawn over the image, in device pixels. */
import { outlineOf } from "../algebra/outline.ts";
import { centerOf, type Point, placeOf } from "../algebra/regions.ts";
import type { Selection } from "../algebra/selection.ts";
import type { Grid } from "../protocol.ts";
import { element } from "../ui/dom.ts";
import { heatColor, type Ink } from "../view/colormap.ts";
import type { Theme } from "../view/theme.ts";

type Context = CanvasRenderingContext2D;

/** Map grid units to device pixels: corners are rounded, so that neighbours share an edge without a seam. */
export function geometryOf(grid: Grid, width: number, height: number) {
  /** The edges of the crop. */
  const left = Math.round(grid.left * width);
  const top = Math.round(grid.top * height);
  const right = Math.round((grid.left + grid.width) * width);
  const bottom = Math.round((grid.top + grid.height) * height);
  const at = ({ x, y }: Point): [number, number] => [
    left + ((right - left) * x) / grid.columns,
    top + ((bottom - top) * y) / grid.rows,
  ];
  const x = (column: number) => Math.round(at({ x: column, y: 0 })[0]);
  const y = (row: number) => Math.round(at({ x: 0, y: row })[1]);
  return { grid, width, height, left, top, right, bottom, at, x, y };
}

type Geometry = ReturnType<typeof geometryOf>;

/** Veil what the model never saw, and draw a fine frame around the crop. */
export function paintOutside(context: Context, map: Geometry, theme: Theme): void {
  const { left, top } = map;
  const [width, height] = [map.right - left, map.bottom - top];
  if (width >= map.width && height >= map.height) return;
  context.beginPath();
  context.rect(0, 0, map.width, map.height);
  context.rect(left, top, width, height);
  context.fillStyle = theme === "dark" ? "#111111a8" : "#ffffffa8";
  context.fill("evenodd");
  context.strokeStyle = theme === "dark" ? "#ffffffb3" : "#00000099";
  context.lineWidth = 1;
  context.strokeRect(left - 0.5, top - 0.5, width + 1, height + 1);
}

/** Return a function that paints heat through a small canvas, a pixel for each patch: fast at any size. */
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

/** Paint an outline, light on dark, so that it shows on any image. */
export function paintOutline(
  context: Context,
  map: Geometry,
  patches: Selection,
  width: number,
  outer?: string,
): void {
  context.beginPath();
  for (const [x1, y1, x2, y2] of outlineOf(patches, map.grid.columns)) {
    context.moveTo(map.x(x1), map.y(y1));
    context.lineTo(map.x(x2), map.y(y2));
  }
  strokeTwice(context, width, outer);
}

/** Mark outlier patches, discreetly: they may be in the middle of what is looked at. */
export function paintRings(
  context: Context,
  map: Geometry,
  patches: Selection,
  unit: number,
): void {
  context.beginPath();
  for (const p of patches) {
    const [x, y] = map.at(centerOf(p, map.grid.columns));
    context.moveTo(x + 3 * unit, y);
    context.arc(x, y, 3 * unit, 0, 7);
  }
  strokeTwice(context, unit, "#0008");
}

/** Paint a lasso's path so far, with a dashed line where it would close. */
export function paintPath(
  context: Context,
  map: Geometry,
  path: readonly Point[],
  unit: number,
): void {
  const points = path.map(map.at);
  const [first, last] = [points[0], points.at(-1)];
  if (!first || !last) return;
  context.beginPath();
  for (const point of points) context.lineTo(...point);
  strokeTwice(context, 1.25 * unit);
  context.setLineDash([4 * unit, 4 * unit]);
  context.beginPath();
  context.moveTo(...last);
  context.lineTo(...first);
  strokeTwice(context, 1.25 * unit);
  context.setLineDash([]);
}

/** Paint corner marks, so that the cursor never looks like a selection. */
export function paintCursor(context: Context, map: Geometry, patch: number, unit: number): void {
  const [row, column] = placeOf(patch, map.grid.columns);
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
  strokeTwice(context, 2.5 * unit);
}

function strokeTwice(context: Context, width: number, outer = "#000"): void {
  context.lineCap = "square";
  const strokes = [[outer, 2 * width] as const, ["#fff", width] as const];
  for (const [color, wide] of strokes) {
    context.strokeStyle = color;
    context.lineWidth = wide;
    context.stroke();
  }
}
