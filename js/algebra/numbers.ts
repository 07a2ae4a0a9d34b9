/** Small arithmetic helpers. */

/** The integers from 0 up to, but not including, `count`. */
export const range = (count: number) => Array.from({ length: count }, (_, index) => index);

export const clamp = (value: number, least: number, most: number) =>
  Math.max(least, Math.min(most, value));

/** The smallest and the largest of the values. */
export const extent = (...values: number[]): [number, number] => [
  Math.min(...values),
  Math.max(...values),
];
