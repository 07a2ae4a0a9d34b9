/**
 * A scope owns everything that has to be cleaned up: listeners, effects and the
 * like. All of it ends with the scope.
 */
import { effect } from "@preact/signals-core";

interface Events {
  <Type extends keyof HTMLElementEventMap>(
    target: HTMLElement,
    type: Type,
    listener: (event: HTMLElementEventMap[Type]) => void,
    capture?: boolean,
  ): void;
  <Type extends keyof WindowEventMap>(
    target: Window,
    type: Type,
    listener: (event: WindowEventMap[Type]) => void,
    capture?: boolean,
  ): void;
  (target: EventTarget, type: string, listener: (event: Event) => void, capture?: boolean): void;
}

export interface Scope {
  /** Listen to events of `target`. */
  readonly on: Events;
  /** Run `run` now, and again whenever a signal that it read changes. */
  effect(run: () => unknown): void;
  /** Call `cleanup` when the scope ends. */
  onEnd(cleanup: () => void): void;
  /** End everything in the scope. */
  end(): void;
}

/** Create a scope that also ends with `outer`, such as a host's signal, if given. */
export function createScope(outer?: AbortSignal): Scope {
  const ending = new AbortController();
  const { signal } = ending;
  const end = () => ending.abort();
  const onEnd = (cleanup: () => void) => {
    if (signal.aborted) cleanup();
    else signal.addEventListener("abort", cleanup);
  };
  if (outer?.aborted) end();
  outer?.addEventListener("abort", end, { signal });
  return {
    on(target: EventTarget, type: string, listener: (event: never) => void, capture = false) {
      target.addEventListener(type, listener as (event: Event) => void, { capture, signal });
    },
    effect: (run) => onEnd(effect(run as () => void)),
    onEnd,
    end,
  };
}
