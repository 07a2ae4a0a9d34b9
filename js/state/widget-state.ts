/**
 * What all views of one widget share: the synced traits as signals, the last
 * good interactions, what is being asked, and where the newest request stands.
 *
 * The browser owns the two selections together with the kernel, and alone
 * which of caption, foil and difference is looked at; everything else here is
 * the kernel's, and only follows.
 */
import { batch, computed, type ReadonlySignal, signal } from "@preact/signals-core";
import { differenceOf, pairsOf, rowsOf, subtract } from "../algebra/alignment.ts";
import type { Interactions } from "../algebra/interactions.ts";
import { type Selection, same } from "../algebra/selection.ts";
import {
  type Choices,
  type Grid,
  isShape,
  type Layer,
  type MessageListener,
  type Model,
  type Pair,
  type Report,
  readMessage,
  type SentSummary,
  type Shape,
  type Status,
  type Summary,
  type Test,
  type ToKernel,
  type Token,
  type Traits,
} from "../protocol.ts";
import { decode, FrameAssembler, type Outcome } from "./frames.ts";
import { type Asking, createAsking } from "./questions.ts";

export interface Picture {
  bytes: DataView;
  type: string;
}

export interface Progress {
  done: number;
  total: number;
  /** When it should be finished (as `performance.now()`); null while that is not known. */
  ends: number | null;
}

/** Which captions there are. */
export type Part = "caption" | "foil";

/** What is looked at. */
export type Look = Part | "difference";

/** A caption, or the difference of both as one, with its own interactions. */
export interface Side {
  readonly caption: ReadonlySignal<string>;
  readonly tokens: ReadonlySignal<readonly Token[]>;
  readonly interactions: ReadonlySignal<Interactions | null>;
  /** What is selected, as rows of this side. */
  readonly selected: ReadonlySignal<Selection>;
}

export interface WidgetState {
  /** These five, and `selectTokens`, are about what is looked at. */
  readonly caption: ReadonlySignal<string>;
  readonly tokens: ReadonlySignal<readonly Token[]>;
  readonly interactions: ReadonlySignal<Interactions | null>;
  readonly summary: ReadonlySignal<Summary | null>;
  readonly selectedTokens: ReadonlySignal<Selection>;

  readonly look: ReadonlySignal<Look>;
  /** Whether there is a foil. */
  readonly compared: ReadonlySignal<boolean>;
  readonly sides: Readonly<Record<Look, Side>>;
  /** The caption's rows beside the foil's; each to itself without a foil. */
  readonly pairs: ReadonlySignal<readonly Pair[]>;

  readonly picture: ReadonlySignal<Picture | null>;
  readonly grid: ReadonlySignal<Grid>;
  readonly selectedRegion: ReadonlySignal<Selection>;
  readonly method: ReadonlySignal<string>;
  readonly layers: Readonly<Record<"text_layer" | "image_layer", ReadonlySignal<Layer>>>;
  readonly choices: ReadonlySignal<Choices | null>;
  readonly tests: ReadonlySignal<readonly Test[]>;
  readonly asking: Asking;
  /** Whether questions have somebody to answer them. */
  readonly answered: ReadonlySignal<boolean>;
  readonly status: ReadonlySignal<Status>;
  readonly progress: ReadonlySignal<Progress | null>;
  /** What is shown belongs to an earlier request, until the newest has something to show. */
  readonly stale: ReadonlySignal<boolean>;
  /** Something that went wrong on the way here, in words. */
  readonly notice: ReadonlySignal<string | null>;
  lookAt(look: Look): void;
  selectTokens(tokens: Selection): void;
  selectRegion(patches: Selection): void;
  cancel(): void;
  dispose(): void;
}

/** The traits that say what is explained; interactions belong to one set of them. */
const PICTURE = ["_picture", "_picture_type", "_grid"] as const;
const INPUTS = {
  caption: ["caption", "_tokens", ...PICTURE],
  foil: ["foil", "_foil_tokens", ...PICTURE],
} as const;
const FOLLOWED = [
  ...INPUTS.caption,
  "foil",
  "_foil_tokens",
  "_pairs",
  "method",
  "text_layer",
  "image_layer",
  "_choices",
  "_tests",
  "_summary",
  "_result",
  "_result_shape",
  "_foil_result",
  "_status",
  "_revision",
  "tokens",
  "region",
] as const satisfies readonly (keyof Traits)[];

const NO_GRID: Grid = { rows: 1, columns: 1, left: 0, top: 0, width: 1, height: 1 };
const IDLE: Status = { phase: "idle", message: "" };

/** A kernel that is there says so at once; one that is gone says nothing. */
const SILENCE_MS = 10_000;

/** A view that joins a computation hears within this time how far it is. */
const JOIN_MS = 100;

/** Where the traits say that something is computed, but nobody does. */
const ABANDONED: Status = {
  phase: "idle",
  message: "No kernel is computing this; run the cell again.",
};

/** Hosts make new objects of what has not changed. */
function alike(a: unknown, b: unknown): boolean {
  return a === b || (!ArrayBuffer.isView(a) && JSON.stringify(a) === JSON.stringify(b));
}

const spelled = ({ caption, tokens }: Side) => ({ caption: caption.value, tokens: tokens.value });

export function createState(model: Model): WidgetState {
  const traits = signal<Partial<Traits>>({});
  const picture = signal<Picture | null>(null);
  const shown = {
    caption: signal<Interactions | null>(null),
    foil: signal<Interactions | null>(null),
  };
  const summary = signal<SentSummary | null>(null);
  const tokenSelection = signal<Selection>([]);
  /** Selected rows of the foil that have no counterpart: the traits have no place for them. */
  const foilAlone = signal<Selection>([]);
  const regionSelection = signal<Selection>([]);
  const chosen = signal<Look>("caption");
  const status = signal<Status>(IDLE);
  const progress = signal<Progress | null>(null);
  const stale = signal(false);
  const problem = signal<string | null>(null);
  /** Nothing comes of what is being computed. */
  const silent = signal(false);
  /** Nobody answers. */
  const gone = signal(false);
  const announced = signal<readonly number[] | null>(null);

  /** A part of the traits that changes only when its contents do. */
  function trait<Name extends keyof Traits, Empty>(name: Name, empty: Empty) {
    let kept: NonNullable<Traits[Name]> | Empty = empty;
    return computed(() => {
      const now = traits.value[name] ?? empty;
      if (!alike(now, kept)) kept = now as NonNullable<Traits[Name]>;
      return kept;
    });
  }

  const grid = trait("_grid", NO_GRID);
  const foil = trait("foil", null);
  const tokens = { caption: trait("_tokens", []), foil: trait("_foil_tokens", []) };
  const texts = { caption: trait("caption", ""), foil: computed(() => foil.value ?? "") };
  const compared = computed(() => foil.value !== null);
  const sentPairs = trait("_pairs", []);
  const pairs = computed<readonly Pair[]>(() =>
    compared.value ? sentPairs.value : tokens.caption.value.map((_, row) => [row, null] as const),
  );
  const look = computed<Look>(() => (compared.value ? chosen.value : "caption"));
  /** The places in `pairs` that are selected. */
  const selectedPairs = computed(() => [
    ...pairsOf(pairs.value, 0, tokenSelection.value),
    ...pairsOf(pairs.value, 1, foilAlone.value),
  ]);

  function side(part: Part, selected: () => Selection): Side {
    return {
      caption: texts[part],
      tokens: tokens[part],
      // Between two updates of the traits the pieces may not fit each other.
      interactions: computed(() => {
        const { rows, columns } = grid.value;
        const a = shown[part].value;
        const fits =
          a?.tokens === tokens[part].value.length && a.rows === rows && a.columns === columns;
        return fits ? a : null;
      }),
      selected: computed(() => selected().filter((row) => row < tokens[part].value.length)),
    };
  }
  const caption = side("caption", () => tokenSelection.value);
  const other = side("foil", () => rowsOf(pairs.value, 1, selectedPairs.value));
  const difference = computed(() => differenceOf(spelled(caption), spelled(other), pairs.value));
  const sides: Record<Look, Side> = {
    caption,
    foil: other,
    difference: {
      caption: computed(() => difference.value.caption),
      tokens: computed(() => difference.value.tokens),
      interactions: computed(() => {
        const [a, b] = [caption.interactions.value, other.interactions.value];
        return a && b && subtract(a, b, pairs.value);
      }),
      selected: computed(() => selectedPairs.value.toSorted((a, b) => a - b)),
    },
  };
  const looked = computed(() => sides[look.value]);

  /** The newest request seen; older ones are no longer listened to. */
  let newest = -1;
  /** The newest one that was cancelled here: nothing of it is wanted, whatever still comes. */
  let dropped = -1;
  let assemblers: Record<Part, FrameAssembler> | null = null;
  /** What the time left is reckoned from. */
  let base = { time: 0, done: 0 };
  let heard = false;
  let patience = SILENCE_MS;
  /** Cancelled before its number was known. */
  let dropNext = false;
  /** The traits say that something is computed, and no message yet which. */
  let unnumbered = false;
  let silence: ReturnType<typeof setTimeout> | undefined;
  let disposed = false;
  let revision = 0;

  function send(content: ToKernel, buffer?: ArrayBuffer): void {
    if (disposed) return;
    try {
      if (buffer) model.send(content, undefined, [buffer]);
      else model.send(content);
      expect();
    } catch {
      gone.value = true; // the host has closed the channel
    }
  }
  const asking = createAsking(send);

  /** Says that a view is here; whoever is there says so at once. */
  const knock = () => send({ kind: "hello" });

  /** Waits for a word, ever longer; says so when there is none. */
  function expect(): void {
    clearTimeout(silence);
    silence = setTimeout(() => {
      const computing = status.peek().phase === "computing";
      // A test may take its time; whatever else is asked is answered before anything is computed.
      const { test: _, ...questions } = asking.open.peek();
      const waiting = Object.values(questions).some(({ refused }) => refused === null);
      if (heard && !computing && !waiting) return;
      if (!heard && computing) {
        // Saved in the middle of a computation that nobody goes on with.
        status.value = ABANDONED;
      }
      batch(() => {
        silent.value = computing;
        gone.value = !heard || waiting;
      });
      patience *= 2;
      knock(); // where the channel is back, so is the result
      asking.repeat();
    }, patience);
  }

  function show(part: Part, { frame, problem: wrong }: Outcome): void {
    if (frame) {
      shown[part].value = frame;
      stale.value = false;
    }
    if (frame || wrong) problem.value = wrong ?? null;
  }

  /** Takes over whatever the traits say now. Hosts may send them one by one or all at once. */
  function follow(): void {
    const seen = traits.peek();
    const now: Partial<Traits> = {};
    for (const name of FOLLOWED) Object.assign(now, { [name]: model.get(name) });
    const changed = (name: keyof Traits) => !alike(now[name], seen[name]);
    batch(() => {
      traits.value = now;
      // A host may put back what it read before something newer came.
      const { _revision: told = 0 } = now;
      if (told < revision) send({ kind: "hello", again: true });
      revision = told;
      if (!compared.value) chosen.value = "caption";
      if (changed("_summary")) summary.value = now._summary ?? null;
      if (changed("_picture") || changed("_picture_type")) {
        picture.value = now._picture?.byteLength
          ? { bytes: now._picture, type: now._picture_type ?? "image/png" }
          : null;
      }
      if (!same(tokenSelection.peek(), now.tokens ?? [])) {
        tokenSelection.value = now.tokens ?? [];
        foilAlone.value = [];
      }
      if (!same(regionSelection.peek(), now.region ?? [])) {
        regionSelection.value = now.region ?? [];
      }
      if (changed("_status")) {
        status.value = now._status ?? IDLE;
        unnumbered = now._status?.phase === "computing";
        if (unnumbered) progress.value = null;
      }
      for (const part of ["caption", "foil"] as const) {
        if (INPUTS[part].some(changed)) {
          shown[part].value = null;
          foilAlone.value = [];
        }
        const name = part === "foil" ? "_foil_result" : "_result";
        if (!changed(name) && !changed("_result_shape")) continue;
        const result = now[name];
        const shape = now._result_shape;
        if (!result?.byteLength || !isShape(shape)) {
          if (part === "caption") stale.value = shown.caption.peek() !== null;
          continue;
        }
        const [, rows, columns] = shape;
        const own =
          part === "caption" ? shape : ([now._foil_tokens?.length ?? 0, rows, columns] as const);
        const { frame, problem: wrong } = decode(result, own);
        show(part, { frame, problem: wrong && `The saved result has ${wrong}.` });
      }
    });
  }

  function begin(id: number, shape: Shape | null): void {
    const { rows, columns } = grid.peek();
    const own = shape ?? ([tokens.caption.peek().length, rows, columns] as const);
    announced.value = own;
    unnumbered = false;
    dropNext = false;
    assemblers = {
      caption: new FrameAssembler(own),
      foil: new FrameAssembler([tokens.foil.peek().length, own[1], own[2]]),
    };
    status.value = { phase: "computing", message: "" };
    if (id === newest) return; // said again, for a view that has missed it
    newest = id;
    base = { time: performance.now(), done: 0 };
    progress.value = null;
    problem.value = null;
    stale.value = shown.caption.peek() !== null;
  }

  function report(message: Report, buffer: ArrayBufferView | ArrayBuffer | undefined): void {
    if (message.id < newest || message.id <= dropped) return;
    // The first sign of a request starts it, even where its `begin` was lost.
    if (message.id > newest || message.kind === "begin") {
      if (dropNext) {
        newest = message.id;
        cancel();
        return;
      }
      begin(message.id, message.kind === "begin" ? message.shape : null);
    }
    switch (message.kind) {
      case "progress": {
        const { done, total } = message;
        const now = performance.now();
        // What is said at once was done before this view was here to see it.
        if (now - base.time < JOIN_MS) base = { time: now, done };
        const rate = (done - base.done) / (now - base.time);
        const ends = rate > 0 ? now + (total - done) / rate : null;
        progress.value = { done, total, ends };
        break;
      }
      case "chunk": {
        const part = message.part === "foil" ? "foil" : "caption";
        if (assemblers) show(part, assemblers[part].accept(message, buffer));
        break;
      }
      case "done":
        summary.value = message;
        status.value = { phase: "done", message: "" };
        break;
      case "error":
        status.value = { phase: "error", message: message.message };
        break;
      case "cancelled":
        status.value = { phase: "cancelled", message: "" };
        break;
    }
  }

  const receive: MessageListener = (content, buffers) => {
    const message = readMessage(content);
    if (!message) return;
    heard = true;
    patience = SILENCE_MS;
    batch(() => {
      silent.value = false;
      gone.value = false;
      if (message.kind === "here") {
        // The end of what is shown as computed got lost.
        if (status.peek().phase === "computing") status.value = ABANDONED;
      } else if ("id" in message) report(message, buffers?.[0]);
      else asking.receive(message);
    });
    expect();
  };

  function cancel(): void {
    // Until its first sign, nobody here knows the number of what the traits say is computed.
    dropNext = unnumbered;
    unnumbered = false;
    if (!dropNext) {
      dropped = newest;
      send({ kind: "cancel", id: newest });
    }
    status.value = { phase: "cancelled", message: "" };
  }

  function keep(name: "tokens" | "region", selection: Selection): void {
    model.set(name, [...selection]);
    model.save_changes();
  }

  follow();
  for (const name of FOLLOWED) model.on(`change:${name}`, follow);
  model.on("msg:custom", receive);
  knock();

  return {
    caption: computed(() => looked.value.caption.value),
    tokens: computed(() => looked.value.tokens.value),
    interactions: computed(() => looked.value.interactions.value),
    summary: computed(() => summary.value && summaryOf(summary.value, look.value)),
    selectedTokens: computed(() => looked.value.selected.value),
    look,
    compared,
    sides,
    pairs,
    picture,
    grid,
    selectedRegion: computed(() => {
      const { rows, columns } = grid.value;
      return regionSelection.value.filter((p) => p < rows * columns);
    }),
    method: trait("method", ""),
    layers: {
      text_layer: trait("text_layer", "output"),
      image_layer: trait("image_layer", "output"),
    },
    choices: trait("_choices", null),
    tests: trait("_tests", []),
    asking,
    answered: computed(() => !gone.value),
    status,
    progress,
    stale,
    notice: computed(() => {
      const { rows, columns } = grid.value;
      const expected = [tokens.caption.value.length, rows, columns];
      const shape = announced.value;
      const said = [
        problem.value,
        shape && !same(shape, expected)
          ? `The result has shape ${shape.join(" × ")}, but the caption and the picture make ${expected.join(" × ")} (tokens × rows × columns).`
          : null,
        silent.value
          ? "The kernel says nothing. It may be busy; if it was restarted, run the cell again."
          : null,
      ].filter((one) => one !== null);
      return said.join(" ") || null;
    }),
    lookAt(next) {
      chosen.value = next;
    },
    selectTokens(selection) {
      batch(() => {
        if (look.peek() === "caption") {
          foilAlone.value = [];
          tokenSelection.value = selection;
        } else {
          const places =
            look.peek() === "foil" ? pairsOf(pairs.peek(), 1, selection) : [...selection];
          const alone = places.filter((place) => pairs.peek()[place]?.[0] === null);
          tokenSelection.value = rowsOf(pairs.peek(), 0, places);
          foilAlone.value = rowsOf(pairs.peek(), 1, alone);
        }
        keep("tokens", tokenSelection.peek());
      });
    },
    selectRegion(selection) {
      regionSelection.value = selection;
      keep("region", selection);
    },
    cancel,
    dispose() {
      disposed = true;
      clearTimeout(silence);
      for (const name of FOLLOWED) model.off(`change:${name}`, follow);
      model.off("msg:custom", receive);
    },
  };
}

/** The numbers of what is looked at. */
function summaryOf(sent: SentSummary, look: Look): Summary | null {
  const { similarity, total = null, residual = null, error = null } = sent;
  const { foil_similarity: foil = null, foil_total: foilTotal = null } = sent;
  if (look === "caption") return { similarity, total, residual, error };
  if (foil === null) return null;
  const both = total !== null && foilTotal !== null;
  return {
    similarity: look === "foil" ? foil : similarity - foil,
    total: look === "foil" ? foilTotal : both ? total - foilTotal : null,
    residual: null,
    error,
  };
}
