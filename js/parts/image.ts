/** The image with the heat map over it. */
import type { ReadonlySignal } from "@preact/signals-core";
import type { WidgetState } from "../state/widget-state.ts";
import { box, element } from "../ui/dom.ts";
import type { Scope } from "../ui/scope.ts";
import type { Settings } from "../view/settings.ts";
import type { ViewState } from "../view/view-state.ts";
import { imageGestures } from "./image-gestures.ts";
import {
  geometryOf,
  heatPainter,
  paintCursor,
  paintOutline,
  paintOutside,
  paintPath,
  paintRings,
} from "./image-painting.ts";

export interface ImageView {
  node: HTMLElement;
  canvas: HTMLElement;
  /** The patch in words, for screen readers, after each move of the keyboard's cursor. */
  spoken: ReadonlySignal<string>;
}

export function imageView(
  state: WidgetState,
  view: ViewState,
  settings: Settings,
  scope: Scope,
): ImageView {
  const image = element("img", "exclip-image", { alt: "", draggable: "false" });
  const canvas = element("canvas", "exclip-heat", {
    "data-testid": "exclip-heat",
    role: "application",
    "aria-roledescription": "patch grid",
    "aria-label": "Image",
    tabindex: "0",
  });
  const broken = box("exclip-broken", "The image could not be read.");
  const node = box("exclip-frame", image, broken, canvas);
  const context = canvas.getContext("2d");
  const paintHeat = heatPainter();
  const axis = view.region;

  /** Device pixels per CSS pixel. */
  let unit = 1;
  let frame = 0;
  /** Paint once a frame, however many events arrive in it. */
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
    paintRings(context, map, state.outliers.peek(), unit);
    paintOutline(context, map, axis.selected.peek(), 2.5 * unit);
    const under = axis.preview.peek();
    if (under) paintOutline(context, map, under, 1.25 * unit, "#0008");
    const path = gestures.lasso();
    if (path) paintPath(context, map, path, unit);
    const at = gestures.cursor.peek();
    if (at !== null) paintCursor(context, map, at, unit);
  }

  const gestures = imageGestures(canvas, state, view, settings, schedule, scope);

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
    void [state.grid.value, view.heat.value, gestures.cursor.value, settings.smooth.value];
    void [axis.selected.value, axis.preview.value, state.outliers.value];
    canvas.dataset.scale = String(view.heatScale.end.value);
    // The stronger the heat, the more the image fades.
    const strength = view.heat.value ? view.ink.value.strength : 0;
    image.style.setProperty("--exclip-strength", String(strength));
    schedule();
  });
  scope.effect(() => {
    node.dataset.tool = settings.tool.value;
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
    // Stored here: reading the width while painting would force a layout of the whole widget.
    unit = width / Math.max(1, canvas.clientWidth);
    // Resizing cleared it: paint before the browser shows it empty.
    paint();
  });
  try {
    // With whole device pixels, cells stay crisp at any zoom.
    resized.observe(canvas, { box: "device-pixel-content-box" });
  } catch {
    resized.observe(canvas); // Safari
  }
  // Hosts that scroll cells in and out of the page may drop a canvas's pixels.
  const seen = new IntersectionObserver(schedule);
  seen.observe(canvas);
  scope.on(canvas, "contextrestored", schedule);
  scope.onEnd(() => {
    resized.disconnect();
    seen.disconnect();
    cancelAnimationFrame(frame);
  });

  return { node, canvas, spoken: gestures.spoken };
}
