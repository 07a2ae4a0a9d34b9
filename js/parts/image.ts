/** The picture with the heat map over it: where patches are read and selected. */
import { type ReadonlySignal, signal } from "@preact/signals-core";
import { boxOf, lassoOf, type Point, strokeOf } from "../algebra/regions.ts";
import { join, type Selection, same } from "../algebra/selection.ts";
import type { WidgetState } from "../state/widget-state.ts";
import { box, claim, element } from "../ui/dom.ts";
import type { Scope } from "../ui/scope.ts";
import { signed } from "../view/number-format.ts";
import type { Settings, Tool } from "../view/settings.ts";
import type { ViewState } from "../view/view-state.ts";
import {
  geometryOf,
  heatPainter,
  paintCursor,
  paintOutline,
  paintOutside,
  pathPainter,
} from "./image-painting.ts";

export interface PictureView {
  node: HTMLElement;
  /** The patch in words, after each move of the keyboard's cursor. */
  spoken: ReadonlySignal<string>;
}

interface Drag {
  /** All of a lasso's points; of the others, only what the next step needs. */
  path: Point[];
  /** What letting go at once would have chosen. */
  readonly dab: Selection;
  patches: Selection;
  moved: boolean;
  readonly paint: ReturnType<typeof pathPainter>;
}

/** The brush's radius as a share of the grid it is changed. */
const BRUSH = 1 / 16;

/** Points of a lasso closer than this, in patches, add nothing. */
const LASSO_STEP = 0.1;

const TOOL_KEYS: Record<string, Tool> = { b: "box", p: "brush", l: "lasso" };

export function picture(
  state: WidgetState,
  view: ViewState,
  settings: Settings,
  scope: Scope,
): PictureView {
  const image = element("img", "exclip-image", { alt: "", draggable: "false" });
  const canvas = element("canvas", "exclip-heat", {
    "data-testid": "exclip-heat",
    role: "application",
    "aria-roledescription": "patch grid",
    "aria-label":
      "Picture. Arrow keys move over its patches, Enter selects, Shift with arrows extends, Shift with Enter adds, Alt with Enter subtracts, I inverts, Escape clears.",
    tabindex: "0",
  });
  const broken = box("exclip-broken", "The picture could not be read.");
  const node = box("exclip-picture", image, broken, canvas);
  const context = canvas.getContext("2d");
  const paintHeat = heatPainter();
  const side = view.region;
  /** The keyboard's patch, drawn while the picture has the focus by keyboard. */
  const cursor = signal<number | null>(null);
  const spoken = signal("");
  let lastCursor = 0;
  let drag: Drag | null = null;
  /** The patch just kept: its preview waits until the pointer has been elsewhere. */
  let settled = -1;

  /** Device pixels to a pixel of the page. */
  let unit = 1;
  let frame = 0;
  /** One paint a frame, however many events came in it. */
  function schedule(): void {
    if (frame === 0) frame = requestAnimationFrame(paint);
  }

  function paint(): void {
    frame = 0;
    if (!context || canvas.width === 0) return;
    const map = geometryOf(state.grid.peek(), canvas.width, canvas.height);
    const ink = view.ink.peek();
    context.clearRect(0, 0, canvas.width, canvas.height);
    paintOutside(context, map, ink.theme);
    const heat = view.heat.peek();
    if (heat) {
      paintHeat(context, map, heat, view.heatScale.end.peek(), ink, settings.smooth.peek());
    }
    paintOutline(context, map, side.selected.peek(), 2.5 * unit);
    const under = side.preview.peek();
    if (under) paintOutline(context, map, under, 1.25 * unit, "#0008");
    if (drag && settings.tool.peek() === "lasso") drag.paint(context, map, drag.path, unit);
    const at = cursor.peek();
    if (at !== null) paintCursor(context, map, at, unit);
  }

  scope.effect(() => {
    const shown = state.image.value;
    broken.hidden = true;
    if (!shown) {
      image.removeAttribute("src");
      return;
    }
    const { bytes, type } = shown;
    const url = URL.createObjectURL(new Blob([bytes as DataView<ArrayBuffer>], { type }));
    image.src = url;
    return () => URL.revokeObjectURL(url);
  });
  scope.effect(() => {
    void [state.grid.value, view.heat.value, cursor.value, settings.smooth.value];
    void [side.selected.value, side.preview.value];
    canvas.dataset.scale = String(view.heatScale.end.value);
    // The photograph steps back as far as heat comes forward.
    const strength = view.heat.value ? view.ink.value.strength : 0;
    image.style.setProperty("--exclip-strength", String(strength));
    schedule();
  });
  scope.effect(() => {
    node.dataset.tool = settings.tool.value;
  });
  scope.effect(() => {
    // Another grid has other patches under the same numbers.
    void state.grid.value;
    stopDrag();
    cursor.value = null;
    lastCursor = 0;
  });

  scope.on(image, "load", () => {
    node.style.setProperty("--exclip-aspect", String(image.naturalWidth / image.naturalHeight));
  });
  scope.on(image, "error", () => {
    broken.hidden = false;
  });
  const resized = new ResizeObserver(([entry]) => {
    const box = entry?.devicePixelContentBoxSize?.[0];
    const ratio = devicePixelRatio;
    const width = box?.inlineSize ?? Math.round(canvas.clientWidth * ratio);
    const height = box?.blockSize ?? Math.round(canvas.clientHeight * ratio);
    if (width === canvas.width && height === canvas.height) return;
    canvas.width = width;
    canvas.height = height;
    // Kept: to ask while painting would have the whole widget laid out first.
    unit = width / Math.max(1, canvas.clientWidth);
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
  scope.on(canvas, "contextrestored", schedule);
  scope.onEnd(() => resized.disconnect());
  scope.onEnd(() => seen.disconnect());
  scope.onEnd(() => cancelAnimationFrame(frame));

  /** Where an event points, in grid units; the crop is 0..columns by 0..rows. */
  function pointOf(event: PointerEvent): Point {
    const { left, top, width, height } = canvas.getBoundingClientRect();
    const grid = state.grid.peek();
    return {
      x: (((event.clientX - left) / width - grid.left) / grid.width) * grid.columns,
      y: (((event.clientY - top) / height - grid.top) / grid.height) * grid.rows,
    };
  }

  const centerOf = (patch: number): Point => {
    const { columns } = state.grid.peek();
    return { x: (patch % columns) + 0.5, y: Math.floor(patch / columns) + 0.5 };
  };
  const patchAt = (point: Point) => boxOf(point, point, state.grid.peek())[0] ?? -1;
  const radius = () => {
    const { rows, columns } = state.grid.peek();
    return settings.brush.peek() ?? BRUSH * Math.min(rows, columns);
  };

  /** What a press there, let go at once, chooses. */
  function dabOf(point: Point): Selection {
    const grid = state.grid.peek();
    return settings.tool.peek() === "brush"
      ? strokeOf(point, point, radius(), grid)
      : boxOf(point, point, grid);
  }

  /** What the drag has chosen when it comes to `to`. */
  function drawn(stroke: Drag, to: Point): Selection {
    const grid = state.grid.peek();
    const [first = to] = stroke.path;
    const last = stroke.path.at(-1) ?? to;
    switch (settings.tool.peek()) {
      case "box":
        return boxOf(first, to, grid);
      case "brush":
        stroke.path = [to];
        return join(stroke.patches, strokeOf(last, to, radius(), grid), "add");
      case "lasso": {
        if (Math.hypot(to.x - last.x, to.y - last.y) > LASSO_STEP) stroke.path.push(to);
        const inside = lassoOf(stroke.path, grid);
        return inside.length > 0 ? inside : dabOf(first);
      }
    }
  }

  function stopDrag(): void {
    drag = null;
    side.rest();
  }

  scope.on(canvas, "pointerdown", (event) => {
    if (event.button !== 0 || !event.isPrimary) return;
    const from = pointOf(event);
    const dab = dabOf(from);
    drag = { path: [from], dab, patches: dab, moved: false, paint: pathPainter() };
    cursor.value = null;
    canvas.setPointerCapture(event.pointerId);
    canvas.focus({ preventScroll: true });
  });
  scope.on(canvas, "pointermove", (event) => {
    const to = pointOf(event);
    if (drag) {
      drag.patches = drawn(drag, to);
      drag.moved ||= !same(drag.patches, drag.dab);
      schedule();
      if (drag.moved) side.plan(drag.patches, event);
      return;
    }
    const under = patchAt(to);
    if (under >= 0 && under === settled) return;
    settled = -1;
    const patches = under < 0 ? [] : dabOf(to);
    if (same(patches, side.preview.peek() ?? [])) return;
    side.preview.value = patches.length > 0 ? patches : null;
  });
  scope.on(canvas, "pointerup", (event) => {
    if (!drag) return;
    const { moved } = drag;
    const to = pointOf(event);
    const patches = drawn(drag, to);
    drag = null;
    settled = patchAt(to);
    side.keep(patches, event, !moved);
    schedule();
  });
  scope.on(canvas, "pointercancel", stopDrag);
  scope.on(canvas, "pointerleave", () => {
    if (drag) return;
    settled = -1;
    side.preview.value = null;
  });
  scope.on(canvas, "keydown", (event) => {
    if (event.key === "Escape" && drag) {
      stopDrag();
      schedule();
      event.stopPropagation();
      return;
    }
    if (!act(event)) return;
    claim(event);
  });
  scope.on(canvas, "focusout", () => {
    cursor.value = null;
    if (!drag) side.rest();
  });

  /** What a key does; false where it is not ours. */
  function act(event: KeyboardEvent): boolean {
    const grid = state.grid.peek();
    const { rows, columns } = grid;
    const at = cursor.peek() ?? lastCursor;
    if (event.key === "Enter" || event.key === " ") {
      side.keep([at], event, true);
      cursor.value = at;
      lastCursor = at;
      return true;
    }
    if (side.act(event)) return true;
    const [row, column] = [Math.floor(at / columns), at % columns];
    const target = {
      ArrowLeft: [row, column - 1],
      ArrowRight: [row, column + 1],
      ArrowUp: [row - 1, column],
      ArrowDown: [row + 1, column],
      Home: [row, 0],
      End: [row, columns - 1],
    }[event.key];
    if (!target) return !event.ctrlKey && !event.metaKey && actOnTool(event.key);
    const [nextRow, nextColumn] = target as [number, number];
    // The first key only shows where the cursor is.
    const inside = nextRow >= 0 && nextRow < rows && nextColumn >= 0 && nextColumn < columns;
    const next = cursor.peek() === null || !inside ? at : nextRow * columns + nextColumn;
    cursor.value = next;
    lastCursor = next;
    if (event.shiftKey) side.extend(at, (from) => boxOf(centerOf(from), centerOf(next), grid));
    else side.point([next]);
    const value = view.heat.peek()?.[next];
    const place = `Row ${Math.floor(next / columns) + 1}, column ${(next % columns) + 1}`;
    const chosen = side.selected.peek().includes(next) ? ", selected" : "";
    spoken.value = `${place}${value === undefined ? "" : `, ${signed(value)}`}${chosen}`;
    return true;
  }

  function actOnTool(key: string): boolean {
    const tool = TOOL_KEYS[key];
    if (tool) settings.tool.value = tool;
    else if (key === "[" || key === "]") {
      settings.brush.value = Math.max(0.5, radius() + (key === "]" ? 0.5 : -0.5));
    } else return false;
    return true;
  }

  return { node, spoken };
}
