/** Numbers as people read them: a true minus sign, and digits that carry meaning. */

/** Three significant digits, as many decimals as that takes. */
export function plain(value: number): string {
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size < 1e-5) return value.toExponential(1).replaceAll("-", "−");
  const decimals = Math.max(0, Math.min(7, 2 - Math.floor(Math.log10(size))));
  return value.toFixed(decimals).replace("-", "−");
}

export function signed(value: number): string {
  return value > 0 ? `+${plain(value)}` : plain(value);
}

export function percent(fraction: number): string {
  const value = 100 * Math.abs(fraction);
  if (value > 0 && value < 0.1) return "< 0.1 %";
  return `${value.toFixed(1)} %`;
}
