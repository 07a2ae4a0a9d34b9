/**
 * The state shared by all views of one gallery: what is asked, as in the kernel's
 * traits, and the tiles that have arrived. Tiles are asked for when a view wants
 * them, and old ones that no view wants are dropped, so memory stays flat.
 */
import { batch, computed, type ReadonlySignal, signal } from "@preact/signals-core";
import type { Token, Traits } from "../protocol.ts";
import { type Bytes, bytesOf } from "../state/frames.ts";
import { createLiveness } from "../state/liveness.ts";
import {
  type Changes,
  type GalleryModel,
  type GalleryTraits,
  type Order,
  readMessage,
  type SentTile,
  type ToKernel,
} from "./protocol.ts";

/** The most tiles to keep: several screens of the smallest ones. */
const MOST_KEPT = 600;
/** The most that one message may ask for. */
const MOST_ASKED = 512;
/** Time between two windows, so that a fast scroll does not ask for every row on its way. */
const ASK_EVERY_MS = 60;
/** Steps on each side of 0 in a heat map as sent. */
const LEVELS = 127;

/** A tile that has arrived. */
export interface Tile extends SentTile {
  picture: Blob | null;
  /** In units of cosine similarity, row by row; null if there is none. */
  heat: Float64Array | null;
}

interface Opening {
  message: ToKernel;
  /** Whether its answer has been due. */
  missed: boolean;
  resolve(traits: Partial<Traits>): void;
  reject(reason: Error): void;
}

export interface GalleryState {
  readonly phrase: ReadonlySignal<string>;
  readonly words: ReadonlySignal<readonly number[]>;
  readonly order: ReadonlySignal<Order>;
  readonly tokens: ReadonlySignal<readonly Token[]>;
  readonly anyPhrase: ReadonlySignal<boolean>;
  readonly orders: ReadonlySignal<readonly string[]>;
  readonly suggestions: ReadonlySignal<readonly string[]>;
  readonly count: ReadonlySignal<number>;
  readonly end: ReadonlySignal<number | null>;
  readonly request: ReadonlySignal<GalleryTraits["_request"]>;
  /** How much of the newest request is done, 0..1; null if nothing is being computed. */
  readonly progress: ReadonlySignal<number | null>;
  /** Whether a kernel will answer, as far as we know. */
  readonly answering: ReadonlySignal<boolean>;
  /** Why the last question was refused; null if it was not. */
  readonly refused: ReadonlySignal<string | null>;
  /** Whether another phrase has been asked for: its words are not known before the answer. */
  readonly isChangingPhrase: ReadonlySignal<boolean>;
  /** Changes whenever tiles come or go. */
  readonly arrived: ReadonlySignal<object>;
  ask(changes: Changes): void;
  tile(index: number): Tile | undefined;
  /** Set which tiles a view wants, most wanted first; none when it ends. */
  want(view: object, tiles: readonly number[]): void;
  /** Return the traits of the full widget for a tile's pair. Rejects with the kernel's message. */
  open(tile: number): Promise<Partial<Traits>>;
  dispose(): void;
}

const NAMES = [
  "phrase",
  "words",
  "order",
  "_tokens",
  "_any_phrase",
  "_orders",
  "_suggestions",
  "_count",
  "_end",
  "_request",
  "_revision",
] as const satisfies readonly (keyof GalleryTraits)[];

const IDLE: GalleryTraits["_request"] = { id: 0, phase: "idle", message: "", shown: 0 };

export function createGalleryState(model: GalleryModel): GalleryState {
  const traits = signal<Partial<GalleryTraits>>({});
  const arrived = signal({});
  const refused = signal<string | null>(null);
  const done = signal<number | null>(null);
  const tiles = new Map<number, Tile>();
  const wanted = new Map<object, readonly number[]>();
  /** What was asked to be opened and has not come yet, by the number of the question. */
  const opening = new Map<number, Opening>();
  /** Identifies this browser among those that show the gallery. */
  const view = Math.floor(Math.random() * Number.MAX_SAFE_INTEGER);
  // Rises across reloads of the page too, because the kernel outlives the page.
  let question = Date.now();
  const asked = signal<{ question: number; changes: Changes } | null>(null);
  let timer: ReturnType<typeof setTimeout> | undefined;
  let lastAsked = 0;
  let owedTiles = false;

  const request = computed(() => traits.value._request ?? IDLE);
  const shown = computed(() => request.value.shown);
  const count = computed(() => traits.value._count ?? 0);

  const liveness = createLiveness<ToKernel>(model, {
    isComputing: () => request.peek().phase === "computing",
    hasQuestions: () => asked.peek() !== null || opening.size > 0 || owedTiles,
    askAgain(isThere) {
      const waiting = asked.peek();
      if (waiting) liveness.send({ kind: "ask", ...waiting });
      for (const one of opening.values()) {
        // On a slow link, the pair may still be on its way. The kernel says if it has been lost.
        if (one.missed && isThere) liveness.send(one.message);
        one.missed = true;
      }
      askForTiles();
    },
  });

  let revision = 0;
  function read(): void {
    const now: Partial<GalleryTraits> = {};
    for (const name of NAMES) Object.assign(now, { [name]: model.get(name) });
    const { _revision: next = 0 } = now;
    // A host may restore a state that it read before a newer one arrived.
    if (next < revision) liveness.send({ kind: "join", refresh: true });
    revision = next;
    batch(() => {
      const before = shown.peek();
      traits.value = now;
      if (shown.peek() !== before) {
        tiles.clear();
        arrived.value = {};
        askSoon();
      }
      if (now._request?.phase !== "computing") done.value = null;
    });
  }

  /** Return the tiles that are wanted and have not arrived, most wanted first. */
  function missing(): number[] {
    const all = new Set([...wanted.values()].flat());
    const most = count.peek();
    return [...all].filter((tile) => tile < most && !tiles.has(tile)).slice(0, MOST_ASKED);
  }

  function askForTiles(): void {
    clearTimeout(timer);
    timer = undefined;
    const lacking = missing();
    // An empty window is sent too, if what was asked for before is no longer wanted.
    if (lacking.length > 0 || owedTiles) {
      lastAsked = performance.now();
      liveness.send({ kind: "window", view, request: shown.peek(), tiles: lacking });
    }
    owedTiles = lacking.length > 0;
  }

  function askSoon(): void {
    timer ??= setTimeout(askForTiles, Math.max(0, lastAsked + ASK_EVERY_MS - performance.now()));
  }

  function keep(sent: SentTile, picture: Bytes, heat: Bytes): void {
    const levels = bytesOf(heat);
    const unit = sent.end / LEVELS;
    tiles.delete(sent.tile);
    tiles.set(sent.tile, {
      ...sent,
      picture: picture.byteLength ? new Blob([new Uint8Array(bytesOf(picture))]) : null,
      heat: levels.length ? Float64Array.from(levels, (byte) => unit * ((byte << 24) >> 24)) : null,
    });
  }

  /** Drop the tiles that arrived first, except those that are wanted. */
  function drop(): void {
    if (tiles.size <= MOST_KEPT) return;
    const needed = new Set([...wanted.values()].flat());
    for (const tile of tiles.keys()) {
      if (tiles.size <= MOST_KEPT) return;
      if (!needed.has(tile)) tiles.delete(tile);
    }
  }

  function receive(content: unknown, buffers: readonly Bytes[] = []): void {
    const message = readMessage(content, buffers);
    if (!message) return;
    batch(() => {
      liveness.heard(message.kind === "alive");
      switch (message.kind) {
        case "progress":
          if (message.id === request.peek().id) done.value = message.done / message.total;
          break;
        case "tiles":
          if (message.request !== shown.peek()) break;
          message.tiles.forEach((tile, i) => {
            const [picture, heat] = [buffers[2 * i], buffers[2 * i + 1]];
            if (picture && heat) keep(tile, picture, heat);
          });
          drop();
          owedTiles = missing().length > 0;
          arrived.value = {};
          break;
        case "opened": {
          const binary = message.binary.map((name, i) => [name, viewOf(buffers[i])]);
          const traits = { ...message.traits, ...Object.fromEntries(binary) };
          opening.get(message.question)?.resolve(traits);
          opening.delete(message.question);
          break;
        }
        case "accepted":
        case "refused": {
          const { question: number } = message;
          const reason = message.kind === "refused" ? message.message : null;
          if (reason !== null) opening.get(number)?.reject(new Error(reason));
          opening.delete(number);
          if (number !== asked.peek()?.question) break;
          asked.value = null;
          refused.value = reason;
        }
      }
    });
  }

  read();
  for (const name of NAMES) model.on(`change:${name}`, read);
  model.on("msg:custom", receive);
  liveness.send({ kind: "join" });

  const trait = <Name extends keyof GalleryTraits>(name: Name, empty: GalleryTraits[Name]) =>
    computed(() => traits.value[name] ?? empty);
  return {
    phrase: trait("phrase", ""),
    words: trait("words", []),
    order: trait("order", "set"),
    tokens: trait("_tokens", []),
    anyPhrase: trait("_any_phrase", false),
    orders: trait("_orders", []),
    suggestions: trait("_suggestions", []),
    count,
    end: trait("_end", null),
    request,
    progress: computed(() => (request.value.phase === "computing" ? (done.value ?? 0) : null)),
    answering: liveness.answering,
    refused,
    isChangingPhrase: computed(() => asked.value?.changes.phrase !== undefined),
    arrived,
    ask(changes) {
      question += 1;
      // A change made while another question is waiting is asked together with it.
      const others = changes.phrase === undefined ? asked.peek()?.changes : undefined;
      const all = { question, changes: { ...others, ...changes } };
      asked.value = all;
      refused.value = null;
      liveness.send({ kind: "ask", ...all });
    },
    tile: (index) => tiles.get(index),
    want(one, some) {
      if (some.length > 0) wanted.set(one, some);
      else wanted.delete(one);
      askSoon();
    },
    open(tile) {
      question += 1;
      const message = { kind: "open", question, request: shown.peek(), tile } as const;
      liveness.send(message);
      return new Promise((resolve, reject) => {
        opening.set(question, { message, missed: false, resolve, reject });
      });
    },
    dispose() {
      clearTimeout(timer);
      liveness.dispose();
      for (const name of NAMES) model.off(`change:${name}`, read);
      model.off("msg:custom", receive);
    },
  };
}

function viewOf(bytes: Bytes | undefined): DataView {
  const { buffer, byteOffset, byteLength } = bytesOf(bytes ?? new ArrayBuffer(0));
  return new DataView(buffer, byteOffset, byteLength);
}
