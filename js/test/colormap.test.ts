import { describe, expect, it } from "vitest";
import { colormaps, opacity, type Rgb } from "../colormap.ts";

/** OKLab lightness of an sRGB colour. */
function lightness([r, g, b]: Rgb): number {
  const [lr, lg, lb] = [r, g, b].map((value) => {
    const x = value / 255;
    return x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4;
  }) as [number, number, number];
  const l = Math.cbrt(0.4122214708 * lr + 0.5363325363 * lg + 0.0514459929 * lb);
  const m = Math.cbrt(0.2119034982 * lr + 0.6806995451 * lg + 0.1073969566 * lb);
  const s = Math.cbrt(0.0883024619 * lr + 0.2817188376 * lg + 0.6299787005 * lb);
  return 0.2104542553 * l + 0.793617785 * m - 0.0040720468 * s;
}

const STEPS = Array.from({ length: 65 }, (_, i) => i / 64);

describe.each(["light", "dark"] as const)("the %s colour map", (theme) => {
  const map = colormaps[theme];

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

  it("is grey at 0, blue below and orange above", () => {
    const [r, g, b] = map.at(0);
    expect(Math.max(r, g, b) - Math.min(r, g, b)).toBeLessThan(4);
    for (const x of [0.2, 0.5, 1]) {
      expect(map.at(-x)[2]).toBeGreaterThan(map.at(-x)[0]);
      expect(map.at(x)[0]).toBeGreaterThan(map.at(x)[2]);
    }
  });

  it("ends at ±1", () => {
    expect(map.at(7)).toEqual(map.at(1));
    expect(map.at(-7)).toEqual(map.at(-1));
  });
});

it("covers nothing at 0 and never all of the picture", () => {
  expect(opacity(0)).toBe(0);
  expect(opacity(0.3)).toBe(opacity(-0.3));
  expect(opacity(5)).toBeLessThan(1);
  STEPS.slice(1).forEach((x, i) => {
    expect(opacity(x)).toBeGreaterThan(opacity(STEPS[i] ?? 0));
  });
});
