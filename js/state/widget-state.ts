/**
 * The state shared by all views of one widget. The browser decides which of
 * caption, foil and difference is looked at, and shares the selections with the
 * kernel; everything else belongs to the kernel and only follows it.
 */
import { batch, computed, type ReadonlySignal, signal } from "@preact/signals-core";
import type { Interactions } from "../algebra/interactions.ts";
import type { Selection } from "../algebra/selection.ts";
import {
  type Choices,
  type Grid,
  type Layer,
  type MaskingTest,
  type Model,
  readMessage,
  type Token,
} from "../protocol.ts";
import type { Bytes } from "./frames.ts";
import { createHeldLayers, type HeldLayers } from "./held-layers.ts";
import { createLiveness } from "./liveness.ts";
import { createLooks, type Looks } from "./looks.ts";
import { createQuestions, type Questions } from "./questions.ts";
import { createRequests, type Requests } from "./requests.ts";
import { createResults } from "./results.ts";
import { createSelections } from "./selections.ts";
import { createTraits } from "./traits.ts";

export interface Image {
  bytes: DataView;
  type: string;
}

export interface WidgetState
  extends Looks,
    Pick<Requests, "status" | "progress" | "cancel">,
    Pick<HeldLayers, "goTo"> {
  /** These four, `summary` and `selectTokens` refer to the current look. */
  readonly caption: ReadonlySignal<string>;
  readonly tokens: ReadonlySignal<readonly Token[]>;
  readonly interactions: ReadonlySignal<Interactions | null>;
  readonly selectedTokens: ReadonlySignal<Selection>;

  readonly image: ReadonlySignal<Image | null>;
  readonly grid: ReadonlySignal<Grid>;
  readonly selectedRegion: ReadonlySignal<Selection>;
  readonly method: ReadonlySignal<string>;
  readonly layers: Readonly<Record<"text_layer" | "image_layer", ReadonlySignal<Layer>>>;
  /** Null without a model: then anything that would need one is hidden. */
  readonly choices: ReadonlySignal<Choices | null>;
  readonly tests: ReadonlySignal<readonly MaskingTest[]>;
  readonly questions: Questions;
  /** Whether a kernel will answer questions, as far as we know; false without a model. */
  readonly answering: ReadonlySignal<boolean>;
  /** Whether what is shown belongs to an earlier request, because the newest has nothing to show yet. */
  readonly stale: ReadonlySignal<boolean>;
  /** A message about what went wrong between the kernel and here. */
  readonly notice: ReadonlySignal<string | null>;
  selectRegion(patches: Selection): void;
  dispose(): void;
}

const NO_GRID: Grid = { rows: 1, columns: 1, left: 0, top: 0, width: 1, height: 1 };
const SILENT =
  "The kernel is not responding. It may be busy. If it was restarted, run the cell again.";

export function createState(model: Model): WidgetState {
  const traits = createTraits(model, (given) => ({
    ...held.cover(given),
    ...selections.cover(given),
  }));
  const liveness = createLiveness(model, {
    isComputing: () => requests.status.peek().phase === "computing" || questions.isTesting(),
    hasQuestions: () => questions.isWaiting(),
    askAgain: (isThere) => questions.askAgain(isThere),
  });
  const { send, silent } = liveness;
  const questions = createQuestions(send);
  const held = createHeldLayers(traits, questions);
  const results = createResults(traits);
  const requests = createRequests(traits, results, liveness);
  const selections = createSelections(model, traits, liveness);
  const grid = traits.signal("_grid", NO_GRID);
  const looks = createLooks(traits, grid, results, selections);
  const looked = computed(() => looks.texts[looks.look.value]);
  const image = signal<Image | null>(null);
  const choices = traits.signal("_choices", null);

  let revision = Number.NaN; // neither below nor above the first one
  traits.onChange(({ now, changed }) => {
    // A host may restore a state that it read before a newer one arrived.
    const { _revision: next = 0 } = now;
    if (next < revision) liveness.catchUp();
    else if (next > revision) liveness.heard(false);
    revision = next;
    // A masking test of something no longer shown is dropped.
    if (changed("_request") && now._request?.phase === "computing") questions.forget("test");
    if (changed("_image", "_image_type")) {
      const { _image: bytes, _image_type: type = "image/png" } = now;
      image.value = bytes?.byteLength ? { bytes, type } : null;
    }
  });

  function receive(content: unknown, buffers?: readonly Bytes[]): void {
    const message = readMessage(content, buffers);
    if (!message) return;
    batch(() => {
      const isAnswer = message.kind === "alive";
      liveness.heard(isAnswer);
      if (isAnswer) selections.settle();
      if (message.kind === "layer") held.keep(message, buffers ?? []);
      else if (message.kind === "accepted" || message.kind === "refused") {
        questions.receive(message);
        // What was refused is no longer shown. What was accepted is in the traits, or will be in a moment.
        if (message.kind === "refused") traits.read();
      } else requests.receive(message, buffers?.[0]);
    });
  }

  traits.follow();
  model.on("msg:custom", receive);
  send({ kind: "join" });

  return {
    ...looks,
    ...requests,
    caption: computed(() => looked.value.caption.value),
    tokens: computed(() => looked.value.tokens.value),
    interactions: computed(() => looked.value.interactions.value),
    selectedTokens: computed(() => looked.value.selected.value),
    image,
    grid,
    selectedRegion: computed(() => {
      const { rows, columns } = grid.value;
      return selections.region.value.filter((p) => p < rows * columns);
    }),
    selectRegion: selections.selectRegion,
    method: traits.signal("method", ""),
    layers: {
      text_layer: traits.signal("text_layer", "output"),
      image_layer: traits.signal("image_layer", "output"),
    },
    goTo: held.goTo,
    choices,
    tests: traits.signal("_tests", []),
    questions,
    answering: computed(() => choices.value !== null && liveness.answering.value),
    stale: results.stale,
    notice: computed(() => {
      const words = [results.problem.value, silent.value ? SILENT : null];
      return words.filter(Boolean).join(" ") || null;
    }),
    dispose() {
      liveness.dispose();
      traits.dispose();
      model.off("msg:custom", receive);
    },
  };
}
