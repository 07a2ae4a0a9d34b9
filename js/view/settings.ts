/** How one view shows and selects: not part of the result, and kept only while the view lives. */
import { type Signal, signal } from "@preact/signals-core";
import type { Mode } from "../algebra/selection.ts";
import { type Palette, palettes, type Sign } from "./colormap.ts";

/** How a drag over the image selects patches. */
export type Tool = "box" | "brush" | "lasso";

export interface Settings {
  readonly tool: Signal<Tool>;
  /** Radius of the brush in patches; null for a share of the grid. */
  readonly brush: Signal<number | null>;
  /** How a gesture combines with the selection if no key says so: touch screens have no Shift. */
  readonly mode: Signal<Mode>;
  /** Whether the caption is cut into pieces as the model reads it, special tokens included. */
  readonly pieces: Signal<boolean>;
  readonly sign: Signal<Sign>;
  readonly smooth: Signal<boolean>;
  /** 0..1: how strongly heat covers the image. */
  readonly strength: Signal<number>;
  readonly palette: Signal<Palette>;
  /** The ends of locked scales; null if they follow the selection. */
  readonly heatLock: Signal<number | null>;
  readonly tintLock: Signal<number | null>;
}

export function createSettings(): Settings {
  return {
    tool: signal<Tool>("box"),
    brush: signal<number | null>(null),
    mode: signal<Mode>("replace"),
    pieces: signal(false),
    sign: signal<Sign>("both"),
    smooth: signal(false),
    strength: signal(1),
    palette: signal<Palette>(palettes[0] ?? "blue–orange"),
    heatLock: signal<number | null>(null),
    tintLock: signal<number | null>(null),
  };
}
