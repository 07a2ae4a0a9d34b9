/** Small arithmetic. */

/** So many, from 0 on. */
export const range = (count: number) => Array.from({ length: count }, (_, index) => index);

export const clamp = (value: number, least: number, most: number) =>
  Math.max(least, Math.min(most, value));

/** From the least of them to the most. */
export const extent = (...values: number[]): [number, number] => [
  Math.min(...values),
  Math.max(...values),
];
