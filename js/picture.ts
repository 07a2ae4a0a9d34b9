/** The picture with the heat map over it: where patches are read and selected. */
import { effect, type ReadonlySignal, signal } from "@preact/signals-core";
import { colormaps, css, opacity } from "./colormap.ts";
import { element, listenerOf } from "./dom.ts";
import type { Lens } from "./lens.ts";
import { signed } from "./numbers.ts";
import { outlineOf } from "./outline.ts";
import type { Grid } from "./protocol.ts";
import { box, join, modeOf, type Selection, toggle } from "./selection.ts";
import type { WidgetState } from "./state.ts";
import type { Theme } from "./theme.ts";

interface Point {
  x: number;
  y: number;
}

export interface PictureView {
  node: HTMLElement;
  /** The patch in words, after each move of the keyboard's cursor. */
  spoken: ReadonlySignal<string>;
}

export function picture(
  state: WidgetState,
  lens: Lens,
  theme: ReadonlySignal<Theme>,
  lifetime: AbortSignal,
): PictureView {
  const image = element("img", "exclip-image", { alt: "", draggable: "false" });
  const canvas = element("canvas", "exclip-heat", {
    "data-testid": "exclip-heat",
    role: "application",
    "aria-roledescription": "patch grid",
    "aria-label":
      "Picture. Arrow keys move over its patches, Enter selects, Shift adds, Alt subtracts, Escape clears.",
    tabindex: "0",
  });
  const broken = element("div", "exclip-broken", {}, "The picture could not be read.");
  const node = element("div", "exclip-picture", {}, image, broken, canvas);
  const context = canvas.getContext("2d");
  const side = lens.region;
  /** The keyboard's patch, drawn while the picture has the focus by keyboard. */
  const cursor = signal<number | null>(null);
  const spoken = signal("");
  let lastCursor = 0;

  let frame = 0;
  /** One paint a frame, however many events came in it. */
  function schedule(): void {
    if (frame === 0) frame = requestAnimationFrame(paint);
  }

  function paint(): void {
    frame = 0;
    if (!context || canvas.width === 0) return;
    const map = new Geometry(state.grid.peek(), canvas.width, canvas.height);
    context.clearRect(0, 0, canvas.width, canvas.height);
    paintOutside(context, map, theme.peek());
    const heat = lens.heat.peek();
    if (heat) paintHeat(context, map, heat, lens.heatScale.peek(), theme.peek());
    const unit = canvas.width / Math.max(1, canvas.clientWidth);
    paintOutline(context, map, side.selected.peek(), 2.5 * unit, "#fff", "#000");
    const under = side.preview.peek();
    if (under) paintOutline(context, map, under, 1.25 * unit, "#fff", "#0008");
    const at = cursor.peek();
    if (at !== null) paintCursor(context, map, at, unit);
  }

  const stops = [
    effect(() => {
      const shown = state.picture.value;
      broken.hidden = true;
      if (!shown) {
        image.removeAttribute("src");
        return;
      }
      const { bytes, type } = shown;
      const url = URL.createObjectURL(new Blob([bytes as DataView<ArrayBuffer>], { type }));
      image.src = url;
      return () => URL.revokeObjectURL(url);
    }),
    effect(() => {
      void [state.grid.value, lens.heat.value, theme.value, cursor.value];
      void [side.selected.value, side.preview.value];
      canvas.dataset.scale = String(lens.heatScale.value);
      node.classList.toggle("exclip-heated", lens.heat.value !== null);
      schedule();
    }),
    effect(() => {
      // Another grid has other patches under the same numbers.
      void state.grid.value;
      side.preview.value = null;
      side.draft.value = null;
      cursor.value = null;
      lastCursor = 0;
    }),
  ];

  image.addEventListener(
    "load",
    () => {
      node.style.setProperty("--exclip-aspect", String(image.naturalWidth / image.naturalHeight));
    },
    { signal: lifetime },
  );
  image.addEventListener(
    "error",
    () => {
      broken.hidden = false;
    },
    { signal: lifetime },
  );
  const resized = new ResizeObserver(([entry]) => {
    const box = entry?.devicePixelContentBoxSize?.[0];
    const ratio = devicePixelRatio;
    const width = box?.inlineSize ?? Math.round(canvas.clientWidth * ratio);
    const height = box?.blockSize ?? Math.round(canvas.clientHeight * ratio);
    if (width === canvas.width && height === canvas.height) return;
    canvas.width = width;
    canvas.height = height;
    // Sizing cleared it: paint before the browser shows it empty.
    paint();
  });
  try {
    // Whole device pixels: cells stay crisp at any zoom.
    resized.observe(canvas, { box: "device-pixel-content-box" });
  } catch {
    resized.observe(canvas); // Safari
  }
  // Hosts that scroll cells in and out of the page may drop a canvas's pixels.
  const seen = new IntersectionObserver(schedule);
  seen.observe(canvas);
  canvas.addEventListener("contextrestored", schedule, { signal: lifetime });
  lifetime.addEventListener("abort", () => {
    for (const stop of stops) stop();
    resized.disconnect();
    seen.disconnect();
    cancelAnimationFrame(frame);
  });

  /** Where an event points, in grid units; the crop is 0..columns by 0..rows. */
  function pointOf(event: PointerEvent): Point {
    const { left, top, width, height } = canvas.getBoundingClientRect();
    const grid = state.grid.peek();
    return {
      x: (((event.clientX - left) / width - grid.left) / grid.width) * grid.columns,
      y: (((event.clientY - top) / height - grid.top) / grid.height) * grid.rows,
    };
  }

  const touched = (a: Point, b: Point) => patchesBetween(a, b, state.grid.peek());

  let drag: { from: Point; moved: boolean } | null = null;
  /** The patch just kept: its preview waits until the pointer has been elsewhere. */
  let settled = -1;

  function keep(patches: Selection, single: boolean, event: MouseEvent | KeyboardEvent): void {
    const choose = single ? toggle : join;
    side.preview.value = null;
    side.draft.value = null;
    state.selectRegion(choose(state.selectedRegion.peek(), patches, modeOf(event)));
  }

  function stopDrag(): void {
    drag = null;
    side.draft.value = null;
  }

  const on = listenerOf(canvas, lifetime);

  on("pointerdown", (event) => {
    if (event.button !== 0 || !event.isPrimary) return;
    drag = { from: pointOf(event), moved: false };
    cursor.value = null;
    canvas.setPointerCapture(event.pointerId);
    canvas.focus({ preventScroll: true });
  });
  on("pointermove", (event) => {
    const to = pointOf(event);
    const [under] = touched(to, to);
    if (drag) {
      const patches = touched(drag.from, to);
      drag.moved ||= patches.length > 1;
      if (!drag.moved) return;
      side.preview.value = null;
      side.draft.value = join(state.selectedRegion.peek(), patches, modeOf(event));
      return;
    }
    if (under !== undefined && under === settled) return;
    settled = -1;
    if (under !== side.preview.peek()?.[0]) {
      side.preview.value = under === undefined ? null : [under];
    }
  });
  on("pointerup", (event) => {
    if (!drag) return;
    const { from, moved } = drag;
    drag = null;
    const to = pointOf(event);
    settled = touched(to, to)[0] ?? -1;
    keep(touched(from, to), !moved, event);
  });
  on("pointercancel", stopDrag);
  on("pointerleave", () => {
    if (drag) return;
    settled = -1;
    side.preview.value = null;
  });
  on("keydown", (event) => {
    if (event.key === "Escape" && drag) {
      stopDrag();
      event.stopPropagation();
      return;
    }
    const { rows, columns } = state.grid.peek();
    const at = cursor.peek() ?? lastCursor;
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      event.stopPropagation();
      keep([at], true, event);
      cursor.value = at;
      lastCursor = at;
      return;
    }
    const [row, column] = [Math.floor(at / columns), at % columns];
    const target = {
      ArrowLeft: [row, column - 1],
      ArrowRight: [row, column + 1],
      ArrowUp: [row - 1, column],
      ArrowDown: [row + 1, column],
      Home: [row, 0],
      End: [row, columns - 1],
    }[event.key];
    if (!target) return;
    event.preventDefault();
    event.stopPropagation();
    const [nextRow, nextColumn] = target as [number, number];
    // The first key only shows where the cursor is.
    const inside = nextRow >= 0 && nextRow < rows && nextColumn >= 0 && nextColumn < columns;
    const next = cursor.peek() === null || !inside ? at : nextRow * columns + nextColumn;
    cursor.value = next;
    lastCursor = next;
    side.preview.value = [next];
    const value = lens.heat.peek()?.[next];
    const place = `Row ${Math.floor(next / columns) + 1}, column ${(next % columns) + 1}`;
    const chosen = side.selected.peek().includes(next) ? ", selected" : "";
    spoken.value = `${place}${value === undefined ? "" : `, ${signed(value)}`}${chosen}`;
  });
  on("focusout", () => {
    cursor.value = null;
    if (!drag) side.preview.value = null;
  });

  return { node, spoken };
}

/** All patches that the box between two points touches; none where it misses the crop. */
function patchesBetween(a: Point, b: Point, grid: Grid): number[] {
  const [left, right] = [Math.min(a.x, b.x), Math.max(a.x, b.x)];
  const [top, bottom] = [Math.min(a.y, b.y), Math.max(a.y, b.y)];
  if (right < 0 || bottom < 0 || left >= grid.columns || top >= grid.rows) return [];
  const column = (x: number) => Math.max(0, Math.min(grid.columns - 1, Math.floor(x)));
  const row = (y: number) => Math.max(0, Math.min(grid.rows - 1, Math.floor(y)));
  return box(
    row(top) * grid.columns + column(left),
    row(bottom) * grid.columns + column(right),
    grid.columns,
  );
}

/** Grid units to device pixels, rounded, so that neighbours share an edge without a seam. */
class Geometry {
  readonly grid: Grid;
  readonly width: number;
  readonly height: number;

  constructor(grid: Grid, width: number, height: number) {
    this.grid = grid;
    this.width = width;
    this.height = height;
  }

  x(column: number): number {
    const { left, width, columns } = this.grid;
    return Math.round((left + (width * column) / columns) * this.width);
  }

  y(row: number): number {
    const { top, height, rows } = this.grid;
    return Math.round((top + (height * row) / rows) * this.height);
  }
}

/** What the model never saw: veiled, behind a fine frame around the crop. */
function paintOutside(context: CanvasRenderingContext2D, map: Geometry, theme: Theme): void {
  const [x, y] = [map.x(0), map.y(0)];
  const [width, height] = [map.x(map.grid.columns) - x, map.y(map.grid.rows) - y];
  if (width >= map.width && height >= map.height) return;
  context.beginPath();
  context.rect(0, 0, map.width, map.height);
  context.rect(x, y, width, height);
  context.fillStyle = theme === "dark" ? "rgb(17 17 17 / 0.66)" : "rgb(255 255 255 / 0.66)";
  context.fill("evenodd");
  context.strokeStyle = theme === "dark" ? "rgb(255 255 255 / 0.7)" : "rgb(0 0 0 / 0.6)";
  context.lineWidth = 1;
  context.strokeRect(x - 0.5, y - 0.5, width + 1, height + 1);
}

function paintHeat(
  context: CanvasRenderingContext2D,
  map: Geometry,
  heat: Float64Array,
  scale: number,
  theme: Theme,
): void {
  if (scale === 0) return;
  const { rows, columns } = map.grid;
  for (let row = 0; row < rows; row++) {
    const [top, bottom] = [map.y(row), map.y(row + 1)];
    for (let column = 0; column < columns; column++) {
      const x = (heat[row * columns + column] ?? 0) / scale;
      const [left, right] = [map.x(column), map.x(column + 1)];
      context.fillStyle = css(colormaps[theme].at(x), opacity(x));
      context.fillRect(left, top, right - left, bottom - top);
    }
  }
}

/** Light on dark, so that it shows on any picture. */
function paintOutline(
  context: CanvasRenderingContext2D,
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
  context.lineCap = "square";
  context.strokeStyle = outer;
  context.lineWidth = 2 * width;
  context.stroke();
  context.strokeStyle = inner;
  context.lineWidth = width;
  context.stroke();
}

/** Corner marks, so that the cursor never looks like a selection. */
function paintCursor(
  context: CanvasRenderingContext2D,
  map: Geometry,
  patch: number,
  unit: number,
): void {
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
  context.lineCap = "square";
  for (const [color, width] of [["#000", 5] as const, ["#fff", 2.5] as const]) {
    context.strokeStyle = color;
    context.lineWidth = width * unit;
    context.stroke();
  }
}
