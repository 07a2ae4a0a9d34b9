/**
 * Diverging colour maps for signed values, symmetric about 0 and safe for
 * colour-blind readers: the two hues stay distinct in every common form of
 * colour vision. Both arms share one lightness ramp, linear in OKLab, so equal
 * steps look equal and neither sign looks stronger than the other. On a light
 * background they darken outward (like *vik*), on a dark one they brighten (like
 * *berlin*).
 */
import { clamp, range } from "../algebra/numbers.ts";
import type { Theme } from "./theme.ts";

export type Rgb = readonly [number, number, number];

type Ends = readonly [number, number];

/** Hue in degrees at 0 and at the end; OKLCH chroma at `KNEE` and at the end (it is 0 at the centre). */
type Arm = readonly [hue: number, lastHue: number, chroma: number, lastChroma: number];

/** Lightness at 0 and at the ends, for either theme. */
const LIGHTNESS: Record<Theme, Ends> = { light: [0.97, 0.45], dark: [0.24, 0.86] };

/** The arms below and above 0, for either theme. The first palette is the default. */
const PALETTES = {
  "blue–orange": {
    light: [
      [232, 262, 0.115, 0.16],
      [72, 36, 0.13, 0.155],
    ],
    dark: [
      [262, 230, 0.13, 0.1],
      [36, 76, 0.12, 0.125],
    ],
  },
  "purple–green": {
    light: [
      [318, 306, 0.12, 0.16],
      [136, 150, 0.13, 0.12],
    ],
    dark: [
      [302, 318, 0.14, 0.12],
      [152, 128, 0.11, 0.15],
    ],
  },
  "teal–ochre": {
    light: [
      [204, 214, 0.1, 0.085],
      [96, 72, 0.14, 0.105],
    ],
    dark: [
      [216, 200, 0.075, 0.105],
      [70, 94, 0.09, 0.14],
    ],
  },
} as const satisfies Record<string, Record<Theme, readonly [Arm, Arm]>>;

export type Palette = keyof typeof PALETTES;

export const palettes = Object.keys(PALETTES) as Palette[];

/** Which signs of a value are shown. */
export type Sign = "both" | "positive" | "negative";

/** Where chroma stops rising: early, so that even small values show their sign. */
const KNEE = 0.4;

/** Steps on each side of 0. */
const STEPS = 256;

export interface Colormap {
  /** The colour of a signed fraction -1..1 of the scale. */
  at(x: number): Rgb;
}

export function colormap(palette: Palette, theme: Theme): Colormap {
  const colors = range(2 * STEPS + 1).map((i) =>
    anchorColor(LIGHTNESS[theme], PALETTES[palette][theme], i / STEPS - 1),
  );
  return { at: (x) => colors[Math.round(clamp(x, -1, 1) * STEPS) + STEPS] ?? [0, 0, 0] };
}

/** Return how much of the image a value covers: nothing at 0, never all of it. */
export function opacity(x: number): number {
  return 0.9 * Math.min(1, Math.abs(x)) ** 0.9;
}

/** How values look in one view: its colours, which sign is shown, and how strongly. */
export interface Ink {
  readonly theme: Theme;
  readonly map: Colormap;
  readonly sign: Sign;
  /** 0..1, multiplies the opacity of heat over the image. */
  readonly strength: number;
}

/** Return the fraction as shown: 0 if its sign is hidden. */
export function shownOf({ sign }: Ink, x: number): number {
  return sign === "both" || x > 0 === (sign === "positive") ? x : 0;
}

/** Return a value as heat over the image: its colour, and how much of the image it covers. */
export function heatColor(ink: Ink, fraction: number): [rgb: Rgb, alpha: number] {
  const x = shownOf(ink, fraction);
  return [ink.map.at(x), ink.strength * opacity(x)];
}

export function css([r, g, b]: Rgb, alpha = 1): string {
  return `rgb(${r} ${g} ${b} / ${alpha.toFixed(3)})`;
}

/** Return a background that runs through these colours from -1 to 1 in `steps` steps. */
export function gradient(steps: number, colorAt: (x: number) => string): string {
  const stops = range(steps + 1).map((i) => colorAt((2 * i) / steps - 1));
  return `linear-gradient(90deg, ${stops.join()})`;
}

function anchorColor([least, most]: Ends, arms: readonly [Arm, Arm], x: number): Rgb {
  const [hue, lastHue, chroma, lastChroma] = arms[x < 0 ? 0 : 1];
  const m = Math.abs(x);
  const c = m < KNEE ? mix(0, chroma, m / KNEE) : mix(chroma, lastChroma, (m - KNEE) / (1 - KNEE));
  const h = (mix(hue, lastHue, m) * Math.PI) / 180;
  return oklabToSrgb(mix(least, most, m), c * Math.cos(h), c * Math.sin(h));
}

function mix(a: number, b: number, t: number): number {
  return a + (b - a) * t;
}

/** Björn Ottosson, "A perceptual color space for image processing" (2020); five digits are enough for 8 bits. */
function oklabToSrgb(lightness: number, a: number, b: number): Rgb {
  const l = (lightness + 0.39634 * a + 0.2158 * b) ** 3;
  const m = (lightness - 0.10556 * a - 0.06385 * b) ** 3;
  const s = (lightness - 0.08948 * a - 1.29149 * b) ** 3;
  return [
    encode(4.07674 * l - 3.30771 * m + 0.23097 * s),
    encode(-1.26844 * l + 2.60976 * m - 0.34132 * s),
    encode(-0.0042 * l - 0.70342 * m + 1.70761 * s),
  ];
}

function encode(linear: number): number {
  const x = clamp(linear, 0, 1);
  return Math.round(255 * (x <= 0.00313 ? 12.92 * x : 1.055 * x ** (1 / 2.4) - 0.055));
}
