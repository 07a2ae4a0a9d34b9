/**
 * Frames: interactions assembled from the bytes of messages and traits. A bad
 * chunk drops its frame, with a message that says why; the next frame starts
 * afresh.
 */
import type { Interactions } from "../algebra/interactions.ts";
import type { EstimateMessage, TextName } from "../protocol.ts";

export type Bytes = ArrayBufferView | ArrayBuffer;
type Chunk = Pick<EstimateMessage, "frame" | "offset" | "bytes">;

/** Tokens, rows, columns. */
export type Shape = readonly [tokens: number, rows: number, columns: number];

export interface Outcome {
  frame?: Interactions | undefined;
  problem?: string | undefined;
}

/** Return the bytes. Jupyter passes views into a larger message, so the offset matters. */
export function bytesOf(data: Bytes): Uint8Array {
  return ArrayBuffer.isView(data)
    ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
    : new Uint8Array(data);
}

function payloadBytes([tokens, rows, columns]: Shape): number {
  return 4 * (tokens * rows * columns + tokens);
}

function misfit(bytes: number, shape: Shape): string {
  return `${bytes} bytes, but ${shape.join(" × ")} (tokens × rows × columns) needs ${payloadBytes(shape)}`;
}

/** Read a result: little-endian float32, values then cls. Every browser's platform is little-endian. */
export function decode(data: Bytes, shape: Shape): Outcome {
  const bytes = bytesOf(data);
  if (bytes.length !== payloadBytes(shape)) return { problem: misfit(bytes.length, shape) };
  // slice() copies to an aligned buffer that nothing else uses.
  const floats = new Float32Array(bytes.slice().buffer);
  if (!finite(floats, 0, floats.length)) return { problem: NOT_FINITE };
  return { frame: interactionsOf(floats, shape) };
}

const INCOMPLETE = "a part of it is missing, or came twice";
const NOT_FINITE = "numbers that are not finite";

function finite(floats: Float32Array, start: number, end: number): boolean {
  // 0 times a number is 0, or NaN if it is not finite. This avoids a call for each of millions of numbers.
  let sum = 0;
  for (let i = start; i < end; i++) sum += 0 * (floats[i] ?? 0);
  return sum === 0;
}

function interactionsOf(floats: Float32Array, [tokens, rows, columns]: Shape): Interactions {
  const size = tokens * rows * columns;
  return { tokens, rows, columns, values: floats.subarray(0, size), cls: floats.subarray(size) };
}

/**
 * Return a function that takes the chunks of a text's frames as they arrive, and gives each frame that is
 * complete.
 */
export function assembleFrames(
  shape: Shape,
  name: TextName,
): (chunk: Chunk, data: Bytes) => Outcome {
  const size = payloadBytes(shape);
  /** Each frame has its own memory: what has been shown is never written to, and nothing is copied. */
  let floats = new Float32Array(0);
  /** The frame being assembled, or the last one that was. */
  let frame = -1;
  let filled = 0;
  /** Whether more of it is expected: it is neither complete nor dropped. */
  let isFilling = false;

  function drop(why: string): Outcome {
    isFilling = false;
    return { problem: `Estimate ${frame + 1} of the ${name} was dropped: ${why}.` };
  }

  return (chunk, data) => {
    const { offset } = chunk;
    let problem: string | undefined;
    if (chunk.frame > frame) {
      if (isFilling) ({ problem } = drop(INCOMPLETE));
      frame = chunk.frame;
      filled = 0;
      isFilling = true;
    } else if (chunk.frame < frame || !isFilling) {
      return {}; // a newer one is here, or this one's problem has been reported
    }

    const bytes = bytesOf(data);
    if (chunk.bytes !== size) return drop(misfit(chunk.bytes, shape));
    if (offset !== filled || offset + bytes.length > size) return drop(INCOMPLETE);

    if (offset === 0) floats = new Float32Array(size / 4);
    new Uint8Array(floats.buffer).set(bytes, offset);
    filled += bytes.length;
    // Checked on arrival, so that the last chunk costs no more than any other.
    if (!finite(floats, offset >> 2, filled >> 2)) return drop(NOT_FINITE);
    if (filled < size) return { problem };
    isFilling = false;
    return { problem, frame: interactionsOf(floats, shape) };
  };
}
