/**
 * What all views of one widget share: the synced traits as signals, the last
 * good interactions, and where the newest request stands.
 *
 * The browser owns the two selections together with the kernel; everything
 * else here is the kernel's, and only follows.
 */
import { batch, computed, type ReadonlySignal, signal } from "@preact/signals-core";
import type { Interactions } from "./interactions.ts";
import {
  type Grid,
  isShape,
  type MessageListener,
  type Model,
  readMessage,
  type Status,
  type Summary,
  type Token,
  type Traits,
} from "./protocol.ts";
import { type Selection, same } from "./selection.ts";
import { decode, FrameAssembler } from "./stream.ts";

export interface Picture {
  bytes: DataView;
  type: string;
}

export interface Progress {
  done: number;
  total: number;
}

export interface WidgetState {
  readonly caption: ReadonlySignal<string>;
  readonly tokens: ReadonlySignal<readonly Token[]>;
  readonly picture: ReadonlySignal<Picture | null>;
  readonly grid: ReadonlySignal<Grid>;
  readonly summary: ReadonlySignal<Summary | null>;
  readonly interactions: ReadonlySignal<Interactions | null>;
  readonly selectedTokens: ReadonlySignal<Selection>;
  readonly selectedRegion: ReadonlySignal<Selection>;
  readonly status: ReadonlySignal<Status>;
  readonly progress: ReadonlySignal<Progress | null>;
  /** Something that went wrong on the way here, in words. */
  readonly notice: ReadonlySignal<string | null>;
  selectTokens(tokens: Selection): void;
  selectRegion(patches: Selection): void;
  cancel(): void;
  dispose(): void;
}

/** The traits that say what is explained; interactions belong to one set of them. */
const INPUTS = ["caption", "_tokens", "_picture", "_picture_type", "_grid"] as const;
const FOLLOWED = [
  ...INPUTS,
  "_summary",
  "_result",
  "_result_shape",
  "_status",
  "tokens",
  "region",
] as const satisfies readonly (keyof Traits)[];

const NO_GRID: Grid = { rows: 1, columns: 1, left: 0, top: 0, width: 1, height: 1 };
const IDLE: Status = { phase: "idle", message: "" };

/** A kernel that computes says so at once; a saved "computing" stays silent. */
const SILENCE_MS = 10_000;

export function createState(model: Model): WidgetState {
  const caption = signal("");
  const tokens = signal<readonly Token[]>([]);
  const picture = signal<Picture | null>(null);
  const grid = signal<Grid>(NO_GRID);
  const summary = signal<Summary | null>(null);
  const shown = signal<Interactions | null>(null);
  const tokenSelection = signal<Selection>([]);
  const regionSelection = signal<Selection>([]);
  const status = signal<Status>(IDLE);
  const progress = signal<Progress | null>(null);
  const notice = signal<string | null>(null);

  /** The newest request seen; older ones are no longer listened to. */
  let newest = -1;
  let assembler: FrameAssembler | null = null;
  let seen: Partial<Traits> = {};

  function show(frame: Interactions | undefined, problem: string | undefined): void {
    if (frame) shown.value = frame;
    if (frame || problem) notice.value = problem ?? null;
  }

  /** Takes over whatever the traits say now. Hosts may send them one by one or all at once. */
  function follow(): void {
    const now: Partial<Traits> = {};
    for (const name of FOLLOWED) Object.assign(now, { [name]: model.get(name) });
    const changed = (name: keyof Traits) => now[name] !== seen[name];
    const inputsChanged = INPUTS.some(changed);
    batch(() => {
      caption.value = now.caption ?? "";
      tokens.value = now._tokens ?? [];
      grid.value = now._grid ?? NO_GRID;
      summary.value = now._summary ?? null;
      if (changed("_picture") || changed("_picture_type")) {
        picture.value = now._picture?.byteLength
          ? { bytes: now._picture, type: now._picture_type ?? "image/png" }
          : null;
      }
      if (!same(tokenSelection.peek(), now.tokens ?? [])) tokenSelection.value = now.tokens ?? [];
      if (!same(regionSelection.peek(), now.region ?? [])) {
        regionSelection.value = now.region ?? [];
      }
      if (changed("_status")) status.value = now._status ?? IDLE;
      if (inputsChanged) shown.value = null;
      if (!changed("_result") && !changed("_result_shape")) return;
      if (now._result?.byteLength && isShape(now._result_shape)) {
        const { frame, problem } = decode(now._result, now._result_shape);
        show(frame, problem && `The saved result has ${problem}.`);
      }
    });
    seen = now;
  }

  const receive: MessageListener = (content, buffers) => {
    const message = readMessage(content);
    if (!message || message.id < newest) return;
    batch(() => {
      // The first sign of a request starts it, even where its `begin` was lost.
      if (message.id > newest || message.kind === "begin") {
        newest = message.id;
        const { rows, columns } = grid.peek();
        const expected = [tokens.peek().length, rows, columns] as const;
        const shape = message.kind === "begin" ? message.shape : expected;
        notice.value = same(shape, expected)
          ? null
          : `The result has shape ${shape.join(" × ")}, but the caption and the picture make ${expected.join(" × ")} (tokens × rows × columns).`;
        assembler = new FrameAssembler(shape);
        progress.value = null;
        status.value = { phase: "computing", message: "" };
      }
      switch (message.kind) {
        case "progress":
          progress.value = { done: message.done, total: message.total };
          break;
        case "chunk": {
          const outcome = assembler?.accept(message, buffers?.[0]);
          show(outcome?.frame, outcome?.problem);
          break;
        }
        case "done": {
          const { similarity, residual, total } = message;
          summary.value = { similarity, residual, total };
          status.value = { phase: "done", message: "" };
          break;
        }
        case "error":
          status.value = { phase: "error", message: message.message };
          break;
        case "cancelled":
          status.value = { phase: "cancelled", message: "" };
          break;
      }
    });
  };

  function keep(name: "tokens" | "region", selection: Selection): void {
    model.set(name, [...selection]);
    model.save_changes();
  }

  follow();
  for (const name of FOLLOWED) model.on(`change:${name}`, follow);
  model.on("msg:custom", receive);
  model.send({ kind: "hello" });

  const silence = setTimeout(() => {
    if (newest < 0 && status.peek().phase === "computing") {
      status.value = { phase: "idle", message: "No kernel is computing this; run the cell again." };
    }
  }, SILENCE_MS);

  return {
    caption,
    tokens,
    picture,
    grid,
    summary,
    status,
    progress,
    notice,
    // Between two updates of the traits the pieces may not fit each other.
    interactions: computed(() => {
      const { rows, columns } = grid.value;
      const a = shown.value;
      const fits = a?.tokens === tokens.value.length && a.rows === rows && a.columns === columns;
      return fits ? a : null;
    }),
    selectedTokens: computed(() => tokenSelection.value.filter((t) => t < tokens.value.length)),
    selectedRegion: computed(() => {
      const { rows, columns } = grid.value;
      return regionSelection.value.filter((p) => p < rows * columns);
    }),
    selectTokens(selection) {
      tokenSelection.value = selection;
      keep("tokens", selection);
    },
    selectRegion(selection) {
      regionSelection.value = selection;
      keep("region", selection);
    },
    cancel() {
      model.send({ kind: "cancel", id: newest });
    },
    dispose() {
      clearTimeout(silence);
      for (const name of FOLLOWED) model.off(`change:${name}`, follow);
      model.off("msg:custom", receive);
    },
  };
}
