/**
 * The algebra of one interaction matrix A (tokens x patches): everything
 * shown is a sum of its entries. Pure functions; sums in double precision.
 */

export interface Interactions {
  tokens: number;
  rows: number;
  columns: number;
  /** Row-major, tokens x rows x columns; row 0 is the top of the image. */
  values: Float32Array;
  /** The interaction of each token with the class token, which has no place on the image. */
  cls: Float32Array;
}

/** Hide some patches: their interactions count as the class token's. */
export function hide(a: Interactions, patches: readonly number[]): Interactions {
  const width = a.rows * a.columns;
  const [values, cls] = [a.values.slice(), a.cls.slice()];
  for (let t = 0; t < a.tokens; t++) {
    for (const p of patches) {
      cls[t] = (cls[t] ?? 0) + (values[t * width + p] ?? 0);
      values[t * width + p] = 0;
    }
  }
  return { ...a, values, cls };
}

/** Sum the values at these indices. */
export function sumOf(values: ArrayLike<number>, places: readonly number[]): number {
  return places.reduce((sum, place) => sum + (values[place] ?? 0), 0);
}

/** Return, for each patch, the sum over the given tokens. */
export function heatOf(a: Interactions, tokens: readonly number[]): Float64Array {
  const patches = a.rows * a.columns;
  const heat = new Float64Array(patches);
  for (const token of tokens) {
    const row = a.values.subarray(token * patches, (token + 1) * patches);
    for (let p = 0; p < patches; p++) heat[p] = (heat[p] ?? 0) + (row[p] ?? 0);
  }
  return heat;
}

/** Return, for each token, the sum over the given patches. */
export function tintOf(a: Interactions, patches: readonly number[]): Float64Array {
  const width = a.rows * a.columns;
  const tint = new Float64Array(a.tokens);
  for (let t = 0; t < a.tokens; t++) {
    let sum = 0;
    for (const p of patches) sum += a.values[t * width + p] ?? 0;
    tint[t] = sum;
  }
  return tint;
}

/** Return the interaction of the given tokens with the given patches: the sum over both. */
export function interactionOf(
  a: Interactions,
  tokens: readonly number[],
  patches: readonly number[],
): number {
  const width = a.rows * a.columns;
  let sum = 0;
  for (const t of tokens) for (const p of patches) sum += a.values[t * width + p] ?? 0;
  return sum;
}

/** Return the largest magnitude: the end of a scale symmetric about 0. */
export function largest(values: Iterable<number>): number {
  let most = 0;
  for (const value of values) most = Math.max(most, Math.abs(value));
  return most;
}
