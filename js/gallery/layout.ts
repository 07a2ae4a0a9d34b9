/** Which rows of tiles are on the screen, and where: the pure arithmetic of a virtualised grid. */
import { clamp } from "../algebra/numbers.ts";

/** Narrowest tile, space between tiles, and height of the text beneath a picture, in pixels. */
const LEAST_TILE = 148;
const GAP = 12;
const TEXT = 54;
/** Browsers lay out nothing much higher; beyond it, scrolling takes larger steps. */
export const MOST_HEIGHT = 8_000_000;
/** Rows above and below the screen that are in the page before they are scrolled to. */
const SPARE_ROWS = 2;

export interface Layout {
  columns: number;
  rows: number;
  /** Side of the square that holds a picture. */
  side: number;
  /** From the top of a row to that of the next. */
  pitch: number;
  /** Height of all rows in the scrolled area. */
  height: number;
  gap: number;
}

export function layOut(count: number, width: number): Layout {
  const columns = Math.max(2, Math.floor((width + GAP) / (LEAST_TILE + GAP)));
  const rows = Math.ceil(count / columns);
  const side = Math.max(0, (width - GAP * (columns - 1)) / columns);
  const pitch = side + TEXT + GAP;
  const height = Math.min(rows * pitch, MOST_HEIGHT);
  return { columns, rows, side, pitch, height, gap: GAP };
}

export interface Seen {
  /** First row in the page, and the one after the last. */
  first: number;
  last: number;
  /** First and last row that is at least partly visible. */
  top: number;
  bottom: number;
  /** Where row 0 would be, in pixels from the top of the scrolled area. */
  origin: number;
}

/** Return what is visible at a position of the scroll bar. */
export function seenAt(layout: Layout, scrollTop: number, viewHeight: number): Seen {
  const { rows, pitch, height } = layout;
  const whole = rows * pitch;
  const room = height - viewHeight;
  // The ends of the scroll bar are the ends of the rows.
  const offset = room > 0 ? scrollTop * ((whole - viewHeight) / room) : 0;
  const top = clamp(Math.floor(offset / pitch), 0, Math.max(0, rows - 1));
  const bottom = clamp(Math.floor((offset + viewHeight) / pitch), top, Math.max(0, rows - 1));
  return {
    first: Math.max(0, top - SPARE_ROWS),
    last: Math.min(rows, bottom + 1 + SPARE_ROWS),
    top,
    bottom,
    origin: (room > 0 ? scrollTop : 0) - offset,
  };
}

/** Return where the scroll bar has to be for a row to be fully visible, or null if it already is. */
export function scrollTo(
  layout: Layout,
  row: number,
  scrollTop: number,
  viewHeight: number,
): number | null {
  const { rows, pitch, height, gap } = layout;
  const room = height - viewHeight;
  if (room <= 0) return null;
  const factor = (rows * pitch - viewHeight) / room;
  const offset = scrollTop * factor;
  const [top, bottom] = [row * pitch, (row + 1) * pitch - gap];
  if (top >= offset && bottom <= offset + viewHeight) return null;
  return clamp((top < offset ? top : bottom - viewHeight) / factor, 0, room);
}
