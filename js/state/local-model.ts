/** A model with traits but no kernel behind it: for a page, or for a pair in a gallery. */
import type { Model, ToKernel } from "../protocol.ts";

type Listener = (...given: unknown[]) => void;

/** Return a model with these traits; without `_choices`, the widget offers nothing that needs a kernel. */
export function modelOf(state: Record<string, unknown>): Model {
  const listeners = new Map<string, Set<Listener>>();
  const tell = (event: string, ...given: unknown[]) => {
    for (const listener of listeners.get(event) ?? []) listener(...given);
  };
  const model = {
    get: (name: string) => state[name],
    set(name: string, value: unknown) {
      state[name] = value;
      tell(`change:${name}`);
    },
    save_changes() {},
    send({ kind }: ToKernel) {
      // With this answer, and nothing else pending, no kernel is ever missed.
      if (kind === "join") queueMicrotask(() => tell("msg:custom", { kind: "alive" }, []));
    },
    on(event: string, listener: Listener) {
      listeners.set(event, (listeners.get(event) ?? new Set()).add(listener));
    },
    off(event: string, listener: Listener) {
      listeners.get(event)?.delete(listener);
    },
  };
  return model as unknown as Model;
}
