/**
 * The seam with the kernel: synced traits and custom messages, and nothing
 * else. The Python side of every name here is `exclip_widget`'s widget class.
 *
 * Who owns what: the kernel writes every trait except `tokens` and `region`,
 * which both sides write. Everything large travels as binary messages; the
 * finished tensor is also a trait, so that a saved notebook works alone.
 */

/** One row of the interaction matrix. The first is `<sot>`, the last `<eot>`. */
export interface Token {
  text: string;
  /** Index of the word this piece belongs to, increasing; -1 if special. */
  word: number;
  special: boolean;
  /** Unicode code-point offsets into the caption, null if unknown. */
  start: number | null;
  end: number | null;
}

/** The patch grid, and where the crop the model saw lies on the picture (fractions 0..1). */
export interface Grid {
  rows: number;
  columns: number;
  left: number;
  top: number;
  width: number;
  height: number;
}

/** `residual` is relative: 0.008 means 0.8 %. */
export interface Summary {
  similarity: number;
  residual: number;
  total: number;
}

export type Phase = "idle" | "computing" | "done" | "error" | "cancelled";

export interface Status {
  phase: Phase;
  message: string;
}

/** Tokens, rows, columns. */
export type Shape = readonly [number, number, number];

export interface Traits {
  caption: string;
  _tokens: Token[];
  _picture: DataView;
  _picture_type: "image/png" | "image/jpeg";
  _grid: Grid;
  _summary: Summary | null;
  _result: DataView;
  _result_shape: number[];
  _status: Status;
  /** Selected rows of the matrix, sorted. */
  tokens: number[];
  /** Selected patches, row * columns + column, sorted. */
  region: number[];
}

export type FromKernel =
  | { kind: "begin"; id: number; shape: Shape; frames: number }
  | { kind: "progress"; id: number; done: number; total: number }
  | { kind: "chunk"; id: number; frame: number; offset: number; bytes: number }
  | ({ kind: "done"; id: number } & Summary)
  | { kind: "error"; id: number; message: string }
  | { kind: "cancelled"; id: number };

export type ToKernel = { kind: "hello" } | { kind: "cancel"; id: number };

/** The part of an anywidget model that this widget uses. */
export interface Model {
  /** Undefined where the host holds older or partial state. */
  get<Name extends keyof Traits>(name: Name): Traits[Name] | undefined;
  set<Name extends keyof Traits>(name: Name, value: Traits[Name]): void;
  save_changes(): void;
  send(content: ToKernel): void;
  on(event: "msg:custom", listener: MessageListener): void;
  on(event: `change:${keyof Traits}`, listener: () => void): void;
  off(event: "msg:custom", listener: MessageListener): void;
  off(event: `change:${keyof Traits}`, listener: () => void): void;
}

export type MessageListener = (
  content: unknown,
  buffers?: readonly (ArrayBufferView | ArrayBuffer)[],
) => void;

/** The names each kind of message must carry a number under. */
const NUMBERS: Record<FromKernel["kind"], readonly string[]> = {
  begin: ["frames"],
  progress: ["done", "total"],
  chunk: ["frame", "offset", "bytes"],
  done: ["similarity", "residual", "total"],
  error: [],
  cancelled: [],
};

/** A message of the protocol, or null: other libraries share the channel. */
export function readMessage(content: unknown): FromKernel | null {
  if (typeof content !== "object" || content === null) return null;
  const message = content as Record<string, unknown>;
  const kind = message.kind;
  if (typeof kind !== "string" || !Object.hasOwn(NUMBERS, kind)) return null;
  if (!Number.isInteger(message.id)) return null;
  const names = NUMBERS[kind as FromKernel["kind"]];
  if (!names.every((name) => typeof message[name] === "number")) return null;
  if (kind === "begin" && !isShape(message.shape)) return null;
  if (kind === "error" && typeof message.message !== "string") return null;
  return message as unknown as FromKernel;
}

export function isShape(shape: unknown): shape is Shape {
  return (
    Array.isArray(shape) &&
    shape.length === 3 &&
    shape.every((size) => Number.isInteger(size) && size > 0)
  );
}
