/**
 * The virtualised grid: only the rows on the screen, and a few around them,
 * are in the page. The grid itself has the focus and names its active tile, so
 * the focus survives when that tile is scrolled out of the page.
 */
import { type ReadonlySignal, signal } from "@preact/signals-core";
import { clamp, range } from "../algebra/numbers.ts";
import { box, claim, element, give } from "../ui/dom.ts";
import type { Scope } from "../ui/scope.ts";
import { type Layout, layOut, type Seen, scrollTo, seenAt } from "./layout.ts";
import type { GalleryState } from "./state.ts";
import { type Look, type TileView, tileView } from "./tile.ts";

/** Largest height of the grid, in pixels. */
const MOST_HEIGHT = 600;

/** The most tiles to paint in one frame; in a fast scroll, the others wait for the next. */
const MOST_PAINTED = 10;

interface Row {
  node: HTMLElement;
  tiles: TileView[];
}

export interface Grid {
  node: HTMLElement;
  /** Focus the grid, with this tile active. */
  focus(tile: number): void;
}

export function tileGrid(
  state: GalleryState,
  look: ReadonlySignal<Look>,
  open: (tile: number) => void,
  scope: Scope,
): Grid {
  const rowsBox = box("exclip-tile-rows");
  rowsBox.role = "presentation";
  const node = element(
    "div",
    "exclip-grid",
    {
      role: "grid",
      "aria-label": "Images",
      "aria-readonly": true,
      tabindex: 0,
      "data-testid": "exclip-grid",
    },
    rowsBox,
  );
  const name = `exclip-${Math.random().toString(36).slice(2)}`;
  const idOf = (tile: number) => `${name}-${tile}`;
  const active = signal(0);
  const rows = new Map<number, Row>();
  const spare: Row[] = [];
  let [layout, viewHeight, frame]: [Layout, number, number] = [layOut(0, 0), 0, 0];
  let [width, wanted] = [0, ""];

  function schedule(): void {
    if (frame === 0) frame = requestAnimationFrame(draw);
  }

  function takeRow(): Row {
    const row = spare.pop() ?? {
      node: element("div", "exclip-tile-row", { role: "row" }),
      tiles: [],
    };
    while (row.tiles.length < layout.columns) row.tiles.push(tileView(idOf, row.tiles.length + 1));
    return row;
  }

  function dropRow(index: number, row: Row): void {
    for (const tile of row.tiles) tile.release();
    row.node.remove();
    rows.delete(index);
    spare.push(row);
  }

  function draw(): void {
    frame = 0;
    if (layout.side === 0) return; // not on the page yet
    const count = state.count.peek();
    const seen = seenAt(layout, node.scrollTop, viewHeight);
    for (const [index, row] of rows) {
      if (index < seen.first || index >= seen.last) dropRow(index, row);
    }
    const now = look.peek();
    let left = MOST_PAINTED;
    // From the bottom up, so that the row to insert a new one before is already there.
    for (let index = seen.last - 1; index >= seen.first; index--) {
      let row = rows.get(index);
      if (!row) {
        row = takeRow();
        rows.set(index, row);
        rowsBox.insertBefore(row.node, rows.get(index + 1)?.node ?? null);
        give(row.node, { "aria-rowindex": index + 1 });
      }
      row.node.style.transform = `translateY(${seen.origin + index * layout.pitch}px)`;
      const start = index * layout.columns;
      const filled = row.tiles.slice(0, Math.min(layout.columns, count - start));
      if (row.node.childElementCount !== filled.length) {
        row.node.replaceChildren(...filled.map((tile) => tile.node));
      }
      filled.forEach((tile, column) => {
        const index = start + column;
        const come = state.tile(index);
        const isNew = come !== undefined && !tile.shows(index, come);
        tile.show(index, isNew && left <= 0 ? undefined : come, now);
        if (isNew) left -= 1;
        tile.node.classList.toggle("exclip-active", start + column === active.peek());
      });
    }
    want(seen, count);
    if (left < 0) schedule();
  }

  /** Ask for visible tiles before those around them. */
  function want(seen: Seen, count: number): void {
    const { columns } = layout;
    const between = (first: number, last: number) =>
      range(Math.max(0, Math.min(count, last * columns) - first * columns)).map(
        (i) => first * columns + i,
      );
    const tiles = [
      ...between(seen.top, seen.bottom + 1),
      ...between(seen.bottom + 1, seen.last),
      ...between(seen.first, seen.top),
    ];
    const key = `${state.request.peek().shown}:${tiles[0]}:${tiles.length}:${tiles.at(-1)}`;
    if (key === wanted) return;
    wanted = key;
    state.want(node, tiles);
  }

  function relayOut(): void {
    width = rowsBox.clientWidth || width; // 0 while a pair is open
    layout = layOut(state.count.peek(), width);
    viewHeight = Math.min(layout.height, MOST_HEIGHT);
    node.style.setProperty("--exclip-columns", String(layout.columns));
    node.style.setProperty("--exclip-tile-gap", `${layout.gap}px`);
    node.style.setProperty("--exclip-pitch", `${layout.pitch}px`);
    node.style.height = `${viewHeight}px`;
    rowsBox.style.height = `${layout.height}px`;
    give(node, { "aria-rowcount": layout.rows, "aria-colcount": layout.columns });
    for (const [index, row] of rows) {
      dropRow(index, row);
    }
    for (const row of spare) row.tiles.length = Math.min(row.tiles.length, layout.columns);
    schedule();
  }

  function activate(tile: number): void {
    active.value = clamp(tile, 0, Math.max(0, state.count.peek() - 1));
    const row = Math.floor(active.peek() / layout.columns);
    const place = scrollTo(layout, row, node.scrollTop, viewHeight);
    if (place !== null) node.scrollTop = place;
    draw();
  }

  scope.effect(() => {
    void [state.count.value, state.request.value.shown];
    node.hidden = state.count.value === 0;
    relayOut();
    node.scrollTop = 0;
    active.value = 0;
  });
  scope.effect(() => {
    give(node, { "aria-activedescendant": idOf(active.value) });
  });
  scope.effect(() => {
    void [state.arrived.value, look.value];
    schedule();
  });
  scope.on(node, "scroll", schedule);
  scope.on(node, "keydown", (event) => {
    const { columns, pitch } = layout;
    const page = columns * Math.max(1, Math.floor(viewHeight / pitch));
    const sideways = getComputedStyle(node).direction === "rtl" ? -1 : 1;
    const at = active.peek();
    const last = state.count.peek() - 1;
    const to = {
      ArrowRight: at + sideways,
      ArrowLeft: at - sideways,
      ArrowDown: at + columns <= last ? at + columns : at,
      ArrowUp: at - columns >= 0 ? at - columns : at,
      PageDown: at + page,
      PageUp: at - page,
      Home: 0,
      End: last,
    }[event.key];
    if (to !== undefined) {
      claim(event);
      activate(to);
    } else if (event.key === "Enter" || event.key === " ") {
      claim(event);
      if (state.tile(at)) open(at);
    }
  });
  scope.on(node, "click", ({ target }) => {
    const tile = (target as Element).closest(".exclip-tile");
    const index = tile ? Number(tile.id.slice(name.length + 1)) : Number.NaN;
    if (!state.tile(index)) return;
    activate(index);
    open(index);
  });
  function fit(): void {
    if (rowsBox.clientWidth === width || rowsBox.clientWidth === 0) return;
    const first = seenAt(layout, node.scrollTop, viewHeight).top * layout.columns;
    relayOut();
    const row = Math.floor(first / layout.columns);
    node.scrollTop = scrollTo(layout, row, layout.height, viewHeight) ?? node.scrollTop;
  }
  // In the next frame: otherwise the observer would be notified of its own changes.
  const resized = new ResizeObserver(() => requestAnimationFrame(fit));
  resized.observe(node);
  scope.onEnd(() => {
    resized.disconnect();
    cancelAnimationFrame(frame);
    for (const [index, row] of rows) dropRow(index, row);
    state.want(node, []);
  });

  return {
    node,
    focus(tile) {
      activate(tile);
      node.focus({ preventScroll: true });
    },
  };
}
