/**
 * The wire protocol: synced traits, and messages in both directions. This is
 * the browser's half; `exclip_widget/widget/protocol.py` is the kernel's, and
 * `tests/protocol` holds the examples that both are tested with.
 *
 * Inputs and finished results are traits, which a notebook saves. Messages carry
 * only estimates, progress and answers. The kernel writes every trait; the browser
 * also writes `tokens` and `region`.
 */
import type { AnyModel } from "@anywidget/types";

/** One row of the interaction matrix. The first is `<sot>`, the last `<eot>`. */
export interface Token {
  text: string;
  /** Index of the word that this piece belongs to, increasing; -1 if special. */
  word: number;
  special: boolean;
  /** True for function words, punctuation marks and special tokens: they join no phrase. Unset in older notebooks. */
  alone?: boolean;
  /** Unicode code-point offsets into the caption, null if unknown. */
  start: number | null;
  end: number | null;
}

/** The patch grid, and where the crop that the model saw lies on the image (fractions 0..1). */
export interface Grid {
  rows: number;
  columns: number;
  left: number;
  top: number;
  width: number;
  height: number;
}

/** Numbers are null if the method does not define them; `residual` is relative: 0.008 means 0.8 %. */
export interface Summary {
  similarity: number;
  total: number | null;
  residual: number | null;
  /** What the words and the patches add by themselves, if the method computes it. */
  own?: readonly [words: number, patches: number] | null | undefined;
  /** Patches whose activations are far longer than the others', sorted; missing in older states. */
  outliers?: readonly number[] | undefined;
  /** About how far off the value of any word with any patch may be, at most; null if all are exact. */
  error: number | null;
}

/** The summary as sent, with the foil's numbers. */
export interface SentSummary extends Summary {
  foil_similarity?: number | null;
  foil_total?: number | null;
  foil_error?: number | null;
  foil_own?: Summary["own"];
}

/** The number of a layer, or the output of the last one. */
export type Layer = number | "output";

/** What can be chosen; the index of a layer's name is its number. */
export interface Choices {
  methods: string[];
  text_layers: string[];
  image_layers: string[];
}

/** A row of the caption beside one of the foil; null if one has no counterpart. */
export type AlignedRows = readonly [row: number | null, foilRow: number | null];

/** A selection that was masked: the change of similarity, predicted and measured; null if not finite. */
export interface MaskingTest {
  id: number;
  tokens: number[];
  region: number[];
  predicted: number | null;
  actual: number | null;
  label: string;
}

/** The newest request that the kernel accepted; `id` rises with each. If `idle`, nothing computes here. */
export interface Request {
  id: number;
  phase: "computing" | "done" | "error" | "cancelled" | "idle";
  message: string;
}

/** The scores of the listed captions, in their order. Without a logit scale there are no probabilities. */
export interface Scores {
  similarities: number[];
  probabilities: number[] | null;
  /** Over all captions, or for each by itself. */
  rule: "softmax" | "sigmoid" | null;
}

export interface Traits {
  /** All ranked captions; empty without a list. */
  captions: string[];
  /** Null while they are being computed, and without a list. */
  _scores: Scores | null;
  caption: string;
  foil: string | null;
  method: string;
  text_layer: Layer;
  image_layer: Layer;
  /** Null without a model: then nothing can be asked, and layers are given by name. */
  _choices: Choices | null;
  _tokens: Token[];
  _foil_tokens: Token[];
  _alignment: AlignedRows[];
  _image: DataView;
  _image_type: "image/png" | "image/jpeg";
  _grid: Grid;
  _summary: SentSummary | null;
  /** Empty until the request is finished; its shape is tokens x rows x columns. */
  _result: DataView;
  _foil_result: DataView;
  _tests: MaskingTest[];
  _request: Request;
  /** Rises with each update from the kernel; an update with a lower one is outdated. */
  _revision: number;
  /** Selected rows of the matrix, sorted. */
  tokens: number[];
  /** Selected patches, row * columns + column, sorted. */
  region: number[];
}

/** What the user can change; anything left out stays the same. */
export type Changes = Partial<
  Pick<Traits, "caption" | "foil" | "method" | "text_layer" | "image_layer">
>;

/** The two texts that are explained. */
export type TextName = "caption" | "foil";

/** A chunk of an estimate, with its bytes attached. */
export interface EstimateMessage {
  kind: "estimate";
  id: number;
  part: TextName;
  frame: number;
  offset: number;
  bytes: number;
}

/** What request `id` would give at these layers, with the results of caption and foil attached. */
export interface LayerMessage {
  kind: "layer";
  id: number;
  text_layer: Layer;
  image_layer: Layer;
  _summary: SentSummary;
}

/** Reports on request `id`. The kernel answers each `join` with `alive`. */
export type Report =
  | { kind: "alive" }
  | EstimateMessage
  | {
      kind: "progress";
      id: number;
      done: number;
      total: number;
      /** Missing if the estimate is exact. */
      error?: number;
      foil_error?: number;
    };

/** The answer to the question with that number. The traits of an accepted change arrive before it. */
export type Answer =
  | { kind: "accepted"; question: number }
  | { kind: "refused"; question: number; message: string };

export type FromKernel = Report | LayerMessage | Answer;

export type ToKernel =
  | { kind: "join"; refresh?: true }
  | { kind: "cancel"; id: number }
  | { kind: "change"; question: number; changes: Changes }
  | { kind: "upload"; question: number; offset: number; bytes: number; name: string }
  | { kind: "test"; question: number; tokens: number[]; region: number[] }
  | { kind: "clear_tests" };

/** The part of an anywidget model that this widget uses. Traits are undefined in older states. */
export type Model = Pick<
  AnyModel<Partial<Traits>>,
  "get" | "set" | "save_changes" | "send" | "on" | "off"
>;

/** The fields of each message that must be counts. */
const COUNTS: Record<FromKernel["kind"], readonly string[]> = {
  alive: [],
  estimate: ["id", "frame", "offset", "bytes"],
  layer: ["id"],
  progress: ["id", "done", "total"],
  accepted: ["question"],
  refused: ["question"],
};

/** Return the message if it is one of the protocol's, or else null: other libraries share the channel. */
export function readMessage(content: unknown, buffers: readonly unknown[] = []): FromKernel | null {
  const message = (content ?? {}) as Record<string, unknown>;
  const { kind, part } = message;
  if (typeof kind !== "string" || !Object.hasOwn(COUNTS, kind)) return null;
  if (!COUNTS[kind as FromKernel["kind"]].every((name) => isCount(message[name]))) return null;
  const isText = part === "caption" || part === "foil";
  if (kind === "estimate" && !(isText && buffers.length === 1)) return null;
  if (kind === "layer") {
    const { text_layer, image_layer, _summary } = message;
    const areLayers = [text_layer, image_layer].every((one) => one === "output" || isCount(one));
    if (!(areLayers && _summary && typeof _summary === "object" && buffers.length > 0)) return null;
  }
  if (kind === "refused" && typeof message.message !== "string") return null;
  return message as unknown as FromKernel;
}

function isCount(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}
