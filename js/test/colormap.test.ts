import { describe, expect, it } from "vitest";
import examples from "../../tests/algebra/colors.json";
import {
  colormap,
  heatColor,
  opacity,
  type Palette,
  palettes,
  type Rgb,
} from "../view/colormap.ts";
import type { Theme } from "../view/theme.ts";

type Triple = [number, number, number];

/** Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB. */
const DEFICIENCIES: Record<string, Triple[]> = {
  common: [
    [1, 0, 0],
    [0, 1, 0],
    [0, 0, 1],
  ],
  protanope: [
    [0.152286, 1.052583, -0.204868],
    [0.114503, 0.786281, 0.099216],
    [-0.003882, -0.048116, 1.051998],
  ],
  deuteranope: [
    [0.367322, 0.860646, -0.227968],
    [0.280085, 0.672501, 0.047413],
    [-0.01182, 0.04294, 0.968881],
  ],
  tritanope: [
    [1.255528, -0.076749, -0.178779],
    [-0.078411, 0.930809, 0.147602],
    [0.004733, 0.691367, 0.3039],
  ],
};

const times = (rows: Triple[] | undefined, [x, y, z]: Triple) =>
  (rows ?? []).map(([a, b, c]) => a * x + b * y + c * z) as Triple;

function linear(rgb: Rgb): Triple {
  return rgb.map((value) => {
    const x = value / 255;
    return x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4;
  }) as Triple;
}

function oklab(rgb: Triple): Triple {
  const cones = times(
    [
      [0.4122214708, 0.5363325363, 0.0514459929],
      [0.2119034982, 0.6806995451, 0.1073969566],
      [0.0883024619, 0.2817188376, 0.6299787005],
    ],
    rgb,
  );
  return times(
    [
      [0.2104542553, 0.793617785, -0.0040720468],
      [1.9779984951, -2.428592205, 0.4505937099],
      [0.0259040371, 0.7827717662, -0.808675766],
    ],
    cones.map(Math.cbrt) as Triple,
  );
}

/** Return a colour in OKLab, as seen with this kind of colour vision. */
const seen = (rgb: Rgb, kind: string) =>
  oklab(times(DEFICIENCIES[kind], linear(rgb)).map((x) => Math.max(0, Math.min(1, x))) as Triple);

const distance = (a: Triple, b: Triple) => Math.hypot(...a.map((x, i) => x - (b[i] ?? 0)));

const lightness = (rgb: Rgb) => oklab(linear(rgb))[0];

const STEPS = Array.from({ length: 65 }, (_, i) => i / 64);

const LOOKS = palettes.flatMap((palette) =>
  (["light", "dark"] as const).map((theme) => [palette, theme] as const),
);

describe.each(LOOKS)("the colour map %s in the %s theme", (palette, theme) => {
  const map = colormap(palette, theme);

  it("is as light at −x as at x", () => {
    for (const x of STEPS) {
      expect(Math.abs(lightness(map.at(x)) - lightness(map.at(-x)))).toBeLessThan(0.012);
    }
  });

  it("moves evenly away from the centre", () => {
    for (const sign of [-1, 1]) {
      const ramp = STEPS.map((x) => lightness(map.at(sign * x)));
      const whole = (ramp.at(-1) ?? 0) - (ramp[0] ?? 0);
      expect(Math.sign(whole)).toBe(theme === "light" ? -1 : 1);
      ramp.slice(1).forEach((value, i) => {
        const step = (value - (ramp[i] ?? 0)) / whole;
        expect(step).toBeGreaterThan(0);
        expect(step).toBeLessThan(2.5 / 64);
      });
    }
  });

  it("is grey at 0", () => {
    const [r, g, b] = map.at(0);
    expect(Math.max(r, g, b) - Math.min(r, g, b)).toBeLessThan(4);
  });

  it.each(Object.keys(DEFICIENCIES))("keeps the signs distinct for %s vision", (kind) => {
    // A just noticeable difference is about 0.02 in OKLab.
    for (const x of [0.3, 0.6, 1]) {
      expect(distance(seen(map.at(x), kind), seen(map.at(-x), kind))).toBeGreaterThan(0.08);
    }
  });

  it("ends at ±1", () => {
    expect(map.at(7)).toEqual(map.at(1));
    expect(map.at(-7)).toEqual(map.at(-1));
  });
});

it("covers nothing at 0 and never all of the image", () => {
  expect(opacity(0)).toBe(0);
  expect(opacity(0.3)).toBe(opacity(-0.3));
  expect(opacity(5)).toBeLessThan(1);
  STEPS.slice(1).forEach((x, i) => {
    expect(opacity(x)).toBeGreaterThan(opacity(STEPS[i] ?? 0));
  });
});

it("shows one sign alone, at the chosen strength", () => {
  const map = colormap("blue–orange", "light");
  const ink = { theme: "light", map, sign: "positive", strength: 0.5 } as const;
  expect(heatColor(ink, -0.8)[1]).toBe(0);
  expect(heatColor(ink, 0.8)).toEqual([map.at(0.8), 0.5 * opacity(0.8)]);
  expect(heatColor({ ...ink, sign: "negative" }, 0.8)[1]).toBe(0);
  expect(heatColor({ ...ink, sign: "negative" }, -0.8)[1]).toBeGreaterThan(0);
});

describe("the figures of Python", () => {
  it("have examples of every palette in either theme", () => {
    expect(new Set(examples.map(({ palette }) => palette))).toEqual(new Set(palettes));
    expect(examples).toHaveLength(2 * palettes.length);
  });

  it.each(examples)("have the same colours: $palette, $theme", (example) => {
    const map = colormap(example.palette as Palette, example.theme as Theme);
    expect(example.at.map((x) => map.at(x))).toEqual(example.colors);
    example.at.forEach((x, i) => {
      expect(opacity(x)).toBeCloseTo(example.opacity[i] ?? Number.NaN, 10);
    });
  });
});
