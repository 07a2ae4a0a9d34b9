/** Gestures over the image: pointers and keys that preview and select patches. */
import { type ReadonlySignal, type Signal, signal } from "@preact/signals-core";
import { boxOf, centerOf, lassoOf, type Point, placeOf, strokeOf } from "../algebra/regions.ts";
import { join, type Selection, same } from "../algebra/selection.ts";
import type { WidgetState } from "../state/widget-state.ts";
import { claim } from "../ui/dom.ts";
import { followDrags } from "../ui/drags.ts";
import type { Scope } from "../ui/scope.ts";
import { signed } from "../view/number-format.ts";
import type { Settings, Tool } from "../view/settings.ts";
import type { ViewState } from "../view/view-state.ts";

interface Drag {
  /** All points of a lasso; with the other tools, only what the next step needs. */
  path: Point[];
  /** What releasing at once would have selected. */
  readonly dab: Selection;
  patches: Selection;
  moved: boolean;
}

export interface ImageGestures {
  /** The patch under the keyboard's cursor; null while the keyboard is not in use. */
  readonly cursor: Signal<number | null>;
  /** The patch in words, for screen readers, after each move of the keyboard's cursor. */
  readonly spoken: ReadonlySignal<string>;
  /** Return the path of the lasso being drawn; each lasso has its own array. */
  lasso(): readonly Point[] | null;
}

/** The brush's radius as a share of the grid, until it is changed. */
const BRUSH = 1 / 16;

/** Points of a lasso closer together than this, in patches, are skipped. */
const LASSO_STEP = 0.1;

const TOOL_KEYS: Record<string, Tool> = { b: "box", p: "brush", l: "lasso" };

/** `repaint` is called whenever a drag has changed. */
export function imageGestures(
  canvas: HTMLCanvasElement,
  state: WidgetState,
  view: ViewState,
  settings: Settings,
  repaint: () => void,
  scope: Scope,
): ImageGestures {
  const axis = view.region;
  const cursor = signal<number | null>(null);
  const spoken = signal("");
  let lastCursor = 0;
  let drag: Drag | null = null;
  /** The patch just selected: it is not previewed until the pointer has been elsewhere. */
  let justKept = -1;

  /** Return where an event points, in grid units; the crop is 0..columns by 0..rows. */
  function pointOf(event: PointerEvent): Point {
    const { left, top, width, height } = canvas.getBoundingClientRect();
    const grid = state.grid.peek();
    return {
      x: (((event.clientX - left) / width - grid.left) / grid.width) * grid.columns,
      y: (((event.clientY - top) / height - grid.top) / grid.height) * grid.rows,
    };
  }

  const patchAt = (point: Point) => boxOf(point, point, state.grid.peek())[0] ?? -1;
  const radius = () => {
    const { rows, columns } = state.grid.peek();
    return settings.brush.peek() ?? BRUSH * Math.min(rows, columns);
  };

  /** Return what pressing and releasing there selects. */
  function dabOf(point: Point): Selection {
    const grid = state.grid.peek();
    return settings.tool.peek() === "brush"
      ? strokeOf(point, point, radius(), grid)
      : boxOf(point, point, grid);
  }

  /** Return what the drag has selected when it reaches `to`. */
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

  const dragging = followDrags(
    canvas,
    {
      start(event) {
        const from = pointOf(event);
        const dab = dabOf(from);
        drag = { path: [from], dab, patches: dab, moved: false };
        cursor.value = null;
        canvas.focus({ preventScroll: true });
        return true;
      },
      move(event) {
        if (!drag) return;
        drag.patches = drawn(drag, pointOf(event));
        drag.moved ||= !same(drag.patches, drag.dab);
        repaint();
        if (drag.moved) axis.plan(drag.patches, event);
      },
      drop(event) {
        if (!drag) return;
        const { moved } = drag;
        const to = pointOf(event);
        const patches = drawn(drag, to);
        drag = null;
        justKept = patchAt(to);
        axis.keep(patches, event, !moved);
        repaint();
      },
      stop() {
        if (drag) repaint();
        drag = null;
        axis.rest();
      },
      hover(event) {
        const to = pointOf(event);
        const under = patchAt(to);
        if (under >= 0 && under === justKept) return;
        justKept = -1;
        const patches = under < 0 ? [] : dabOf(to);
        if (same(patches, axis.preview.peek() ?? [])) return;
        axis.preview.value = patches.length > 0 ? patches : null;
      },
      leave() {
        justKept = -1;
        axis.preview.value = null;
      },
    },
    scope,
  );
  scope.on(canvas, "keydown", (event) => {
    if (act(event)) claim(event);
  });
  scope.on(canvas, "focusout", () => {
    cursor.value = null;
    if (!dragging.active()) axis.rest();
  });

  /** Act on a key; false if it is not ours. */
  function act(event: KeyboardEvent): boolean {
    const grid = state.grid.peek();
    const { rows, columns } = grid;
    const at = cursor.peek() ?? lastCursor;
    if (event.key === "Enter" || event.key === " ") {
      axis.keep([at], event, true);
      cursor.value = at;
      lastCursor = at;
      return true;
    }
    if (axis.act(event)) return true;
    const [row, column] = placeOf(at, columns);
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
    if (event.shiftKey)
      axis.extend(at, (from) => boxOf(centerOf(from, columns), centerOf(next, columns), grid));
    else axis.point([next]);
    const value = view.heat.peek()?.[next];
    const [down, across] = placeOf(next, columns);
    const place = `Row ${down + 1}, column ${across + 1}`;
    const chosen = axis.selected.peek().includes(next) ? ", selected" : "";
    const outlier = state.outliers.peek().includes(next) ? ", outlier" : "";
    spoken.value = `${place}${value === undefined ? "" : `, ${signed(value)}`}${outlier}${chosen}`;
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

  scope.effect(() => {
    // In another grid, the same numbers mean other patches.
    void state.grid.value;
    dragging.stop();
    cursor.value = null;
    lastCursor = 0;
  });

  return {
    cursor,
    spoken,
    lasso: () => (drag && settings.tool.peek() === "lasso" ? drag.path : null),
  };
}
