/**
 * The seam with the kernel: synced traits and custom messages, and nothing
 * else. The Python side of every name here is `exclip_widget`'s widget class.
 *
 * Who owns what: the kernel writes every trait except `tokens` and `region`,
 * which both sides write; the browser asks for changes of the others and waits.
 * Everything large travels as binary messages; the finished tensors are also
 * traits, so that a saved notebook works alone.
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

/** Null where the method knows no such number; `residual` is relative: 0.008 means 0.8 %. */
export interface Summary {
  similarity: number;
  total: number | null;
  residual: number | null;
  /** The largest standard error of an entry, for sampled methods. */
  error: number | null;
}

/** As it travels: with the foil's numbers, and what does not apply left out or null. */
export interface SentSummary extends Partial<Summary> {
  similarity: number;
  foil_similarity?: number | null;
  foil_total?: number | null;
}

/** The number of a layer, or the output of the last one. */
export type Layer = number | "output";

/** What can be asked for; the place of a layer's name is its number. */
export interface Choices {
  methods: string[];
  text_layers: string[];
  image_layers: string[];
}

/** A row of the caption beside one of the foil; null where one has no counterpart. */
export type Pair = readonly [row: number | null, foilRow: number | null];

/** A selection that was masked: the change of similarity, predicted and measured. */
export interface Test {
  id: number;
  tokens: number[];
  region: number[];
  predicted: number;
  actual: number;
  label: string;
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
  foil: string | null;
  method: string;
  text_layer: Layer;
  image_layer: Layer;
  _choices: Choices;
  _tokens: Token[];
  _foil_tokens: Token[];
  _pairs: Pair[];
  _picture: DataView;
  _picture_type: "image/png" | "image/jpeg";
  _grid: Grid;
  _summary: SentSummary | null;
  _result: DataView;
  _result_shape: number[];
  _foil_result: DataView;
  _tests: Test[];
  _status: Status;
  /** Rises with what the kernel sends: lower than before, it is of an older state. */
  _revision: number;
  /** Selected rows of the matrix, sorted. */
  tokens: number[];
  /** Selected patches, row * columns + column, sorted. */
  region: number[];
}

/** What a person can change; what is left out stays. */
export type Changes = Partial<
  Pick<Traits, "caption" | "foil" | "method" | "text_layer" | "image_layer">
>;

/** How the newest request goes on; its `id` rises with each request that was accepted. */
export type Report =
  | { kind: "begin"; id: number; shape: Shape; frames: number }
  | { kind: "progress"; id: number; done: number; total: number }
  | {
      kind: "chunk";
      id: number;
      part?: "main" | "foil";
      frame: number;
      offset: number;
      bytes: number;
    }
  | ({ kind: "done"; id: number } & SentSummary)
  | { kind: "error"; id: number; message: string }
  | { kind: "cancelled"; id: number };

/** To a question by its number. The traits of what was accepted are there before it. */
export type Answer =
  | { kind: "accepted"; ask?: number; upload?: number }
  | { kind: "tested"; ask: number; upload?: undefined }
  | { kind: "refused"; ask?: number; upload?: number; message: string };

/** To a hello while nothing is computed; `id` is the newest request's. */
export type Here = { kind: "here"; id: number };

export type FromKernel = Report | Answer | Here;

export type ToKernel =
  | { kind: "hello"; again?: boolean }
  | { kind: "cancel"; id: number }
  | { kind: "ask"; ask: number; changes: Changes }
  | { kind: "upload"; upload: number; offset: number; bytes: number; name: string }
  | { kind: "test"; ask: number; tokens: number[]; region: number[] }
  | { kind: "untest" };

/** The part of an anywidget model that this widget uses. */
export interface Model {
  /** Undefined where the host holds older or partial state. */
  get<Name extends keyof Traits>(name: Name): Traits[Name] | undefined;
  set<Name extends keyof Traits>(name: Name, value: Traits[Name]): void;
  save_changes(): void;
  send(content: ToKernel, callbacks?: undefined, buffers?: ArrayBuffer[]): void;
  on(event: "msg:custom", listener: MessageListener): void;
  on(event: `change:${keyof Traits}`, listener: () => void): void;
  off(event: "msg:custom", listener: MessageListener): void;
  off(event: `change:${keyof Traits}`, listener: () => void): void;
}

export type MessageListener = (
  content: unknown,
  buffers?: readonly (ArrayBufferView | ArrayBuffer)[],
) => void;

/** The names each report must carry a number under. */
const NUMBERS: Record<(Report | Here)["kind"], readonly string[]> = {
  here: [],
  begin: ["frames"],
  progress: ["done", "total"],
  chunk: ["frame", "offset", "bytes"],
  done: ["similarity"],
  error: [],
  cancelled: [],
};

/** A message of the protocol, or null: other libraries share the channel. */
export function readMessage(content: unknown): FromKernel | null {
  if (typeof content !== "object" || content === null) return null;
  const message = content as Record<string, unknown>;
  const { kind, id, ask, upload, part } = message;
  if (typeof kind !== "string") return null;
  const says = typeof message.message === "string";
  if (kind === "accepted" || kind === "refused" || kind === "tested") {
    const numbered = Number.isInteger(ask) || (kind !== "tested" && Number.isInteger(upload));
    return numbered && (says || kind !== "refused") ? (message as unknown as Answer) : null;
  }
  if (!Object.hasOwn(NUMBERS, kind) || !Number.isInteger(id)) return null;
  const names = NUMBERS[kind as (Report | Here)["kind"]];
  if (!names.every((name) => typeof message[name] === "number")) return null;
  if (kind === "begin" && !isShape(message.shape)) return null;
  if (kind === "chunk" && part !== undefined && part !== "main" && part !== "foil") return null;
  if (kind === "error" && !says) return null;
  return message as unknown as Report | Here;
}

export function isShape(shape: unknown): shape is Shape {
  return (
    Array.isArray(shape) &&
    shape.length === 3 &&
    shape.every((size) => Number.isInteger(size) && size > 0)
  );
}
