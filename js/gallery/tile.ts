/** One tile: an image with its heat map, and beneath it the value and the caption. */
import { geometryOf, heatPainter } from "../parts/image-painting.ts";
import { box, element, give, write } from "../ui/dom.ts";
import type { Ink } from "../view/colormap.ts";
import { percent, signed } from "../view/number-format.ts";
import type { Order } from "./protocol.ts";
import type { Tile } from "./state.ts";

/** How tiles currently look. */
export interface Look {
  ink: Ink;
  smooth: boolean;
  /** End of the scale that all tiles share; null if each has its own. */
  end: number | null;
  order: Order;
}

export interface TileView {
  readonly node: HTMLElement;
  /** Whether it already shows this. */
  shows(index: number, tile: Tile | undefined): boolean;
  /** Show a tile, or that it has not arrived yet; do nothing if all of it is already shown. */
  show(index: number, tile: Tile | undefined, look: Look): void;
  /** Release its picture. */
  release(): void;
}

/** Format a value the way its order needs it. */
export function valueText({ value }: { value: number | null }, order: Order): string {
  if (value === null) return "";
  return ["off_box", "special", "outlier"].includes(order) ? percent(value) : signed(value);
}

/** Lengths from which a caption, or what precedes the words in question, may not fit beneath a tile. */
const LONG = 40;
const LONG_START = 20;

const percentages = (fraction: number) => `${100 * fraction}%`;

/** Return a tile in a column of the grid (from 1); its id follows from its index. */
export function tileView(id: (index: number) => string, column: number): TileView {
  const image = element("img", "exclip-tile-image", { alt: "", draggable: "false" });
  const canvas = element("canvas", "exclip-tile-heat");
  const boxes = box("exclip-tile-boxes");
  const picture = box("exclip-tile-picture", image, canvas, boxes);
  const error = box("exclip-tile-error");
  const place = element("span", "exclip-heard");
  const value = element("span", "exclip-tile-value");
  const text = element("span", "exclip-tile-caption", { dir: "auto" });
  const against = element("span", "exclip-tile-caption", { dir: "auto" });
  const node = element(
    "div",
    "exclip-tile",
    { role: "gridcell", "aria-colindex": column, "data-testid": "exclip-tile" },
    box("exclip-tile-frame", picture, error),
    // The blanks between them are for screen readers.
    box("exclip-tile-text", place, value, " ", text, " ", against),
  );
  const context = canvas.getContext("2d");
  const paintHeat = heatPainter();
  let [shown, look]: [Tile | undefined, Look | undefined] = [undefined, undefined];
  let at = -1;
  let url = "";

  image.addEventListener("load", () => {
    picture.style.setProperty("--exclip-aspect", String(image.naturalWidth / image.naturalHeight));
    picture.classList.add("exclip-loaded");
  });
  image.addEventListener("error", () => {
    if (url) write(error, "The picture cannot be shown.");
  });

  function setPicture(blob: Blob | null | undefined): void {
    if (url) URL.revokeObjectURL(url);
    url = blob ? URL.createObjectURL(blob) : "";
    picture.classList.remove("exclip-loaded");
    if (url) image.src = url;
    else image.removeAttribute("src");
  }

  function setText(tile: Tile | undefined, order: Order): void {
    const caption = tile?.caption ?? "";
    const foil = tile?.foil ? `foil: ${tile.foil}` : "";
    if (!tile?.span) text.replaceChildren(caption || (tile?.image ?? ""));
    else {
      const [start = 0, end = 0] = tile.span;
      // Offsets count code points, while a JavaScript string counts UTF-16 units.
      const letters = Array.from(caption);
      const cut = (from: number, to?: number) => letters.slice(from, to).join("");
      // There is room for two lines, and the words in question should be in them.
      const before = start > LONG_START ? "… " : cut(0, start);
      text.replaceChildren(before, element("b", "", cut(start, end)), cut(end));
    }
    write(against, foil);
    node.classList.toggle("exclip-tile-two", foil !== "");
    if (foil || caption.length > LONG)
      node.dataset.hint = [caption, foil].filter(Boolean).join(" — ");
    else delete node.dataset.hint;
    write(value, tile ? valueText(tile, order) : "");
    value.classList.toggle("exclip-alarming", order === "foils" && (tile?.value ?? 0) > 0);
    write(error, tile?.error ?? "");
    node.classList.toggle("exclip-tile-waiting", !tile);
    write(place, tile ? `${at + 1} ` : `${at + 1} loading`);
  }

  /** Paint a pixel for each patch; the style sheet scales them up. */
  function paint(tile: Tile | undefined, { ink, smooth, end }: Look): void {
    const { heat = null, rows = 0, columns = 0, crop = [0, 0, 1, 1] } = tile ?? {};
    canvas.hidden = !heat;
    if (!tile || !heat || !context) return;
    canvas.width = columns;
    canvas.height = rows;
    const grid = { rows, columns, left: 0, top: 0, width: 1, height: 1 };
    const map = geometryOf(grid, columns, rows);
    paintHeat(context, map, heat, end ?? tile.end, ink, false);
    canvas.classList.toggle("exclip-smooth", smooth);
    const [left = 0, top = 0, width = 1, height = 1] = crop;
    canvas.classList.toggle("exclip-cropped", width * height < 1);
    Object.assign(canvas.style, {
      left: percentages(left),
      top: percentages(top),
      width: percentages(width),
      height: percentages(height),
    });
    picture.style.setProperty("--exclip-strength", String(ink.strength));
  }

  return {
    node,
    shows: (index, tile) => index === at && tile === shown,
    show(index, tile, next) {
      if (index !== at) give(node, { id: id(index) });
      const isNew = tile !== shown || index !== at;
      at = index;
      if (isNew) {
        if (tile?.picture !== shown?.picture) setPicture(tile?.picture);
        boxes.replaceChildren(
          ...(tile?.boxes ?? []).map(([left = 0, top = 0, right = 1, bottom = 1]) => {
            const edge = box("exclip-tile-box");
            Object.assign(edge.style, {
              left: percentages(left),
              top: percentages(top),
              right: percentages(1 - right),
              bottom: percentages(1 - bottom),
            });
            return edge;
          }),
        );
      }
      if (isNew || next.order !== look?.order) setText(tile, next.order);
      if (isNew || next !== look) paint(tile, next);
      [shown, look] = [tile, next];
    },
    release() {
      setPicture(null);
      [shown, at] = [undefined, -1];
    },
  };
}
