/**
 * Signed diverging colour maps, symmetric about 0 and safe for colour-blind
 * eyes: blue below, orange above, told apart by hue that every common colour
 * vision keeps. Both arms share one lightness ramp, linear in OKLab, so equal
 * steps look equal and a sign never looks stronger than the other. On light
 * ground they darken outward (as *vik*), on dark ground they brighten (as
 * *berlin*).
 */

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

const LIGHT: Anchors = {
  lightness: [0.97, 0.45],
  below: { hue: [232, 262], chroma: [0.115, 0.16] },
  above: { hue: [72, 36], chroma: [0.13, 0.155] },
};

const DARK: Anchors = {
  lightness: [0.24, 0.86],
  below: { hue: [262, 230], chroma: [0.13, 0.1] },
  above: { hue: [36, 76], chroma: [0.12, 0.125] },
};

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

export const colormaps = { light: new Colormap(LIGHT), dark: new Colormap(DARK) } as const;

/** How much of the photograph a value covers: nothing at 0, never all of it. */
export function opacity(x: number): number {
  return 0.9 * Math.min(1, Math.abs(x)) ** 0.9;
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
