/** Numbers as people read them: a true minus sign, and only digits that carry meaning. */
import { largest } from "../algebra/interactions.ts";
import { clamp } from "../algebra/numbers.ts";

/** Format to three significant digits, with as many decimals as that takes. */
export function plain(value: number): string {
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size < 1e-5) return value.toExponential(1).replaceAll("-", "−");
  return value.toFixed(decimalsOf(size, 3)).replace("-", "−");
}

/** Format with a sign; a number that is not known is a dash. */
export function signed(value: number | null): string {
  if (value === null) return "–";
  return value > 0 ? `+${plain(value)}` : plain(value);
}

export function percent(fraction: number): string {
  const value = 100 * fraction;
  if (value !== 0 && Math.abs(value) < 0.1) return "< 0.1 %";
  return `${value.toFixed(1).replace("-", "−")} %`;
}

/** Return how many decimals give a number of this size that many significant digits. */
function decimalsOf(size: number, digits = 4): number {
  return clamp(digits - 1 - Math.floor(Math.log10(size || 1)), 0, 7);
}

/** Format the numbers of one column, all with the same number of decimals. */
export function aligned(values: readonly number[]): string[] {
  const decimals = decimalsOf(largest(values));
  return values.map((value) => fixed(Math.round(value * 10 ** decimals), decimals, "+"));
}

/**
 * Round summands to the decimals of their total, so that they add up to it as
 * shown: the rounding error goes where it is felt least, never into the first.
 */
export function rounded(
  values: readonly number[],
  total: number,
): { summands: string[]; total: string } {
  const decimals = decimalsOf(Math.abs(total) || largest(values));
  const units = values.map((value) => value * 10 ** decimals);
  const whole = units.map(Math.round);
  const sum = Math.round(total * 10 ** decimals);
  const lost = (i: number) => (units[i] ?? 0) - (whole[i] ?? 0);
  for (
    let left = sum - whole.reduce((a, b) => a + b, 0);
    Math.abs(left) > 0;
    left -= Math.sign(left)
  ) {
    const others = whole.map((_, i) => i).slice(1);
    const [most = 0] = others.sort((a, b) => Math.sign(left) * (lost(b) - lost(a)));
    whole[most] = (whole[most] ?? 0) + Math.sign(left);
  }
  return {
    summands: whole.map((n) => fixed(n, decimals, "+")),
    total: fixed(sum, decimals),
  };
}

/** Format a whole number of units of the last decimal; 0 has neither sign nor decimals. */
export function fixed(units: number, decimals: number, plus = ""): string {
  if (units === 0) return "0";
  const text = Math.abs(units / 10 ** decimals).toFixed(decimals);
  return `${units < 0 ? "−" : plus}${text}`;
}

export const patchCount = (n: number) => (n === 1 ? "1 patch" : `${n} patches`);
