/** A model that holds what is selected, and nobody behind it: of a page, or of a pair in a gallery. */
import type { Model, ToKernel } from "../protocol.ts";

type Listener = (...given: unknown[]) => void;

/** Return a model of these traits; without choices, nothing is offered to ask. */
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
      // Nothing is owed, so nobody is missed.
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
