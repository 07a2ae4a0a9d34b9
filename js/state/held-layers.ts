/**
 * Results at other layers, which the kernel sends in its own time. A slider that
 * comes to one of them shows it in the same frame: it covers the traits. The
 * kernel hears where the slider has come to rest, and follows.
 */
import type { Changes, Layer, LayerMessage, Traits } from "../protocol.ts";
import type { Bytes } from "./frames.ts";
import type { Questions } from "./questions.ts";
import type { Cover, SyncedTraits } from "./traits.ts";

/** A slider that has not moved for so long has come to rest. */
const REST_MS = 200;

export interface HeldLayers {
  /** What lies over the kernel's traits, as long as the kernel has not followed. */
  cover: Cover;
  /** Keep a result. */
  keep(message: LayerMessage, buffers: readonly Bytes[]): void;
  /** Go to a layer: at once if its result is here; otherwise the kernel is asked. */
  goTo(topic: "text_layer" | "image_layer", layer: Layer): void;
}

export function createHeldLayers(
  traits: Pick<SyncedTraits, "now" | "read">,
  questions: Pick<Questions, "change" | "forget"> & { isWaiting(): boolean },
): HeldLayers {
  /** Of one request, by layers: those of others say nothing of what is shown. */
  const results = new Map<string, Partial<Traits>>();
  let id = -1;
  let shown: Partial<Traits> | undefined;
  /** Where the sliders are, while the kernel has not heard of it. */
  let moved: Changes = {};
  let timer: ReturnType<typeof setTimeout> | undefined;

  function tell(): void {
    questions.change(moved);
    moved = {};
  }

  return {
    cover({ _request: request }) {
      const isMoving = Object.keys(moved).length > 0 || questions.isWaiting();
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
        // Those were of another result.
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
