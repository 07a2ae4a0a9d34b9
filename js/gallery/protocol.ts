/**
 * The wire protocol of a gallery: synced traits, and messages in both
 * directions. `exclip_widget/widget/gallery_protocol.py` is the kernel's half,
 * and `tests/protocol/gallery_*.json` holds the examples that both are tested
 * with.
 *
 * What is asked and the number of tiles are traits. The tiles themselves are
 * messages: the browser asks for those that it shows.
 */
import type { Request, Token, Traits } from "../protocol.ts";

/** The order in which tiles are shown; see `ExplainGallery.order`. */
export const ORDERS = ["match", "foils", "off_box", "special", "outlier", "set"] as const;
export type Order = (typeof ORDERS)[number];

export interface GalleryTraits {
  phrase: string;
  /** Rows of the phrase that count; all words if there are none. */
  words: number[];
  order: Order;
  _tokens: Token[];
  /** Whether any phrase can be asked for, or only captions of the store and their words. */
  _any_phrase: boolean;
  /** Which of `ORDERS` can be asked for. */
  _orders: string[];
  /** Captions to choose from. */
  _suggestions: string[];
  _count: number;
  /** End of the scale that all tiles share; null if each has its own. */
  _end: number | null;
  /** The newest request, and the one whose tiles are shown. */
  _request: Request & { shown: number };
  _revision: number;
}

export type Changes = Partial<Pick<GalleryTraits, "phrase" | "words" | "order">>;

/** One tile as sent, with its picture (a JPEG) and its heat map (bytes from −127 to 127) attached. */
export interface SentTile {
  tile: number;
  /** Id of the image. */
  image: string;
  caption: string;
  foil: string | null;
  /** Start and end, in code points, of the words that the order is about; null if it is about all of them. */
  span: readonly number[] | null;
  value: number | null;
  /** Why there is no picture, or what is wrong with it; null if nothing is. */
  error: string | null;
  rows: number;
  columns: number;
  /** What the byte 127 stands for. */
  end: number;
  /** Left, top, width and height of what the model saw, in fractions of the image. */
  crop: readonly number[];
  /** Left, top, right and bottom of each box, in fractions of the image. */
  boxes: readonly (readonly number[])[];
}

export type FromKernel =
  | { kind: "alive" }
  | { kind: "progress"; id: number; done: number; total: number }
  | { kind: "tiles"; request: number; tiles: SentTile[] }
  | {
      kind: "opened";
      question: number;
      tile: number;
      traits: Partial<Traits>;
      binary: string[];
    }
  | { kind: "accepted"; question: number }
  | { kind: "refused"; question: number; message: string };

export type ToKernel =
  | { kind: "join"; refresh?: true }
  | { kind: "ask"; question: number; changes: Changes }
  | { kind: "window"; view: number; request: number; tiles: number[] }
  | { kind: "open"; question: number; request: number; tile: number };

type Listener = (...given: never[]) => void;

/** The part of an anywidget model that a gallery uses. Traits are undefined in older states. */
export interface GalleryModel {
  get<Name extends keyof GalleryTraits>(name: Name): GalleryTraits[Name] | undefined;
  send(content: unknown): void;
  on(event: string, listener: Listener): void;
  off(event: string, listener: Listener): void;
}

type Fields = Record<string, unknown>;

/** Return the message if it is one of the protocol's, or else null: other libraries share the channel. */
export function readMessage(content: unknown, buffers: readonly unknown[] = []): FromKernel | null {
  const message = (content ?? {}) as Fields;
  const counts = (...names: string[]) => names.every((name) => isCount(message[name]));
  const { tiles, traits, binary } = message;
  const isValid = {
    alive: () => true,
    progress: () => counts("id", "done", "total"),
    tiles: () =>
      counts("request") &&
      Array.isArray(tiles) &&
      buffers.length === 2 * tiles.length &&
      tiles.every((tile, i) => isTile(tile, buffers[2 * i + 1])),
    opened: () =>
      counts("question", "tile") &&
      isObject(traits) &&
      isStrings(binary) &&
      binary.length === buffers.length,
    accepted: () => counts("question"),
    refused: () => counts("question") && typeof message.message === "string",
  };
  const { kind } = message;
  if (typeof kind !== "string" || !Object.hasOwn(isValid, kind)) return null;
  return isValid[kind as keyof typeof isValid]() ? (message as unknown as FromKernel) : null;
}

/** Whether this is a tile whose heat map has as many bytes as its grid has patches. */
function isTile(given: unknown, heat: unknown): given is SentTile {
  if (!isObject(given)) return false;
  const isText = (name: string) => typeof given[name] === "string";
  const isTextOrNull = (name: string) => given[name] === null || isText(name);
  const size = ((heat ?? {}) as { byteLength?: unknown }).byteLength;
  return (
    ["tile", "rows", "columns"].every((name) => isCount(given[name])) &&
    ["image", "caption"].every(isText) &&
    ["foil", "error"].every(isTextOrNull) &&
    (given.span === null || isNumbers(given.span, 2)) &&
    (given.value === null || isReal(given.value)) &&
    isReal(given.end) &&
    isNumbers(given.crop, 4) &&
    Array.isArray(given.boxes) &&
    given.boxes.every((box) => isNumbers(box, 4)) &&
    size === (given.rows as number) * (given.columns as number)
  );
}

const isObject = (value: unknown): value is Fields =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const isReal = (value: unknown): value is number => Number.isFinite(value);
const isCount = (value: unknown) => Number.isSafeInteger(value) && (value as number) >= 0;
const isStrings = (value: unknown): value is string[] =>
  Array.isArray(value) && value.every((one) => typeof one === "string");
const isNumbers = (value: unknown, count: number) =>
  Array.isArray(value) && value.length === count && value.every(isReal);
