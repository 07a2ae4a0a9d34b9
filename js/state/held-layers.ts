/**
 * Results at other layers, which the kernel sends when it has time. When a slider
 * reaches such a layer, its result is shown in the same frame: it covers the
 * traits. The kernel is told where the slider comes to rest, and follows.
 */
import type { Changes, Layer, LayerMessage, Traits } from "../protocol.ts";
import type { Bytes } from "./frames.ts";
import type { Questions } from "./questions.ts";
import type { Cover, SyncedTraits } from "./traits.ts";

/** A slider that has not moved for this long has come to rest. */
const REST_MS = 200;

const TOPICS = ["text_layer", "image_layer"] as const;

export interface HeldLayers {
  /** Covers the kernel's traits until the kernel has followed. */
  cover: Cover;
  /** Store a result. */
  keep(message: LayerMessage, buffers: readonly Bytes[]): void;
  /** Go to a layer: at once if its result is here, otherwise by asking the kernel. */
  goTo(topic: (typeof TOPICS)[number], layer: Layer): void;
}

export function createHeldLayers(
  traits: Pick<SyncedTraits, "now" | "read">,
  questions: Pick<Questions, "change" | "forget"> & {
    isWaiting(topics?: readonly (keyof Changes)[]): boolean;
  },
): HeldLayers {
  /** Results by layers, of one request only: those of others do not apply to what is shown. */
  const results = new Map<string, Partial<Traits>>();
  let id = -1;
  let shown: Partial<Traits> | undefined;
  /** Where the sliders have moved to, until the kernel is told. */
  let moved: Changes = {};
  let timer: ReturnType<typeof setTimeout> | undefined;

  function tell(): void {
    questions.change(moved);
    moved = {};
  }

  return {
    cover({ _request: request }) {
      const isMoving = Object.keys(moved).length > 0 || questions.isWaiting(TOPICS);
      if (!isMoving || request?.id !== id) shown = undefined;
      return shown;
    },
    keep(message, [caption, foil]) {
      if (message.id < id) return;
      if (message.id > id) results.clear();
      id = message.id;
      const { text_layer, image_layer, _summary } = message;
      results.set(`${text_layer} ${image_layer}`, {
        text_layer,
        image_layer,
        _summary,
        _result: caption as DataView,
        _foil_result: foil as DataView,
        // The tests shown so far belong to another result.
        _tests: [],
      });
    },
    goTo(topic, layer) {
      clearTimeout(timer);
      questions.forget(topic);
      moved = { ...moved, [topic]: layer };
      const { _request: request, text_layer, image_layer } = { ...traits.now(), ...moved };
      const known = request?.id === id && results.get(`${text_layer} ${image_layer}`);
      if (!known || questions.isWaiting()) return tell();
      shown = known;
      timer = setTimeout(tell, REST_MS);
      traits.read();
    },
  };
}
