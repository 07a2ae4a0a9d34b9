/**
 * Signed diverging colour maps, symmetric about 0 and safe for colour-blind
 * eyes: two hues told apart by what every common colour vision keeps. Both
 * arms share one lightness ramp, linear in OKLab, so equal steps look equal
 * and a sign never looks stronger than the other. On light ground they darken
 * outward (as *vik*), on dark ground they brighten (as *berlin*).
 */
import type { Theme } from "./theme.ts";

export type Rgb = readonly [number, number, number];

interface Arm {
  /** Hue in degrees at 0 and at the end. */
  hue: readonly [number, number];
  /** OKLCH chroma at `KNEE` and at the end; 0 at the centre. */
  chroma: readonly [number, number];
}

interface Anchors {
  lightness: readonly [number, number];
  below: Arm;
  above: Arm;
}

/** Lightness at 0 and at the ends, on either ground. */
const LIGHTNESS: Record<Theme, Anchors["lightness"]> = { light: [0.97, 0.45], dark: [0.24, 0.86] };

/** Below 0 and above it, on light and on dark ground. The first is the one to start with. */
const PALETTES = {
  "blue–orange": {
    light: [
      { hue: [232, 262], chroma: [0.115, 0.16] },
      { hue: [72, 36], chroma: [0.13, 0.155] },
    ],
    dark: [
      { hue: [262, 230], chroma: [0.13, 0.1] },
      { hue: [36, 76], chroma: [0.12, 0.125] },
    ],
  },
  "purple–green": {
    light: [
      { hue: [318, 306], chroma: [0.12, 0.16] },
      { hue: [136, 150], chroma: [0.13, 0.12] },
    ],
    dark: [
      { hue: [302, 318], chroma: [0.14, 0.12] },
      { hue: [152, 128], chroma: [0.11, 0.15] },
    ],
  },
  "teal–ochre": {
    light: [
      { hue: [204, 214], chroma: [0.1, 0.085] },
      { hue: [96, 72], chroma: [0.14, 0.105] },
    ],
    dark: [
      { hue: [216, 200], chroma: [0.075, 0.105] },
      { hue: [70, 94], chroma: [0.09, 0.14] },
    ],
  },
} as const satisfies Record<string, Record<Theme, readonly [Arm, Arm]>>;

export type Palette = keyof typeof PALETTES;

export const palettes = Object.keys(PALETTES) as Palette[];

/** What is shown of a signed value. */
export type Sign = "both" | "positive" | "negative";

/** Where chroma stops rising: early, so that the sign of small values is seen too. */
const KNEE = 0.4;

/** Steps on each side of 0. */
const STEPS = 256;

export class Colormap {
  readonly #colors: readonly Rgb[];

  constructor(anchors: Anchors) {
    const colors: Rgb[] = [];
    for (let i = -STEPS; i <= STEPS; i++) colors.push(anchorColor(anchors, i / STEPS));
    this.#colors = colors;
  }

  /** The colour of a signed fraction -1..1 of the scale. */
  at(x: number): Rgb {
    const clamped = Math.max(-1, Math.min(1, x));
    return this.#colors[Math.round(clamped * STEPS) + STEPS] ?? [0, 0, 0];
  }
}

const made = new Map<string, Colormap>();

export function colormap(palette: Palette, theme: Theme): Colormap {
  const key = palette + theme;
  const known = made.get(key);
  if (known) return known;
  const [below, above] = PALETTES[palette][theme];
  const map = new Colormap({ lightness: LIGHTNESS[theme], below, above });
  made.set(key, map);
  return map;
}

/** How much of the photograph a value covers: nothing at 0, never all of it. */
export function opacity(x: number): number {
  return 0.9 * Math.min(1, Math.abs(x)) ** 0.9;
}

/** How values look in one view: its colours, which sign is shown, and how strongly. */
export interface Ink {
  readonly theme: Theme;
  readonly map: Colormap;
  readonly sign: Sign;
  /** 0..1, times the opacity of heat over the picture. */
  readonly strength: number;
}

/** The fraction as it is shown: 0 where its sign is not. */
export function shownOf({ sign }: Ink, x: number): number {
  return sign === "both" || x > 0 === (sign === "positive") ? x : 0;
}

/** A value as heat over the picture: its colour, and how much of the picture it covers. */
export function heatColor(ink: Ink, fraction: number): [rgb: Rgb, alpha: number] {
  const x = shownOf(ink, fraction);
  return [ink.map.at(x), ink.strength * opacity(x)];
}

export function css([r, g, b]: Rgb, alpha = 1): string {
  return `rgb(${r} ${g} ${b} / ${alpha.toFixed(3)})`;
}

function anchorColor({ lightness, below, above }: Anchors, x: number): Rgb {
  const { hue, chroma } = x < 0 ? below : above;
  const m = Math.abs(x);
  const l = mix(lightness[0], lightness[1], m);
  const c =
    m < KNEE ? mix(0, chroma[0], m / KNEE) : mix(chroma[0], chroma[1], (m - KNEE) / (1 - KNEE));
  const h = (mix(hue[0], hue[1], m) * Math.PI) / 180;
  return oklabToSrgb(l, c * Math.cos(h), c * Math.sin(h));
}

function mix(a: number, b: number, t: number): number {
  return a + (b - a) * t;
}

/** Björn Ottosson, "A perceptual color space for image processing" (2020). */
function oklabToSrgb(lightness: number, a: number, b: number): Rgb {
  const l = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const m = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const s = (lightness - 0.0894841775 * a - 1.291485548 * b) ** 3;
  return [
    encode(4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s),
    encode(-1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s),
    encode(-0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s),
  ];
}

function encode(linear: number): number {
  const x = Math.max(0, Math.min(1, linear));
  return Math.round(255 * (x <= 0.0031308 ? 12.92 * x : 1.055 * x ** (1 / 2.4) - 0.055));
}
