/**
 * A scope owns everything that has to be cleaned up: listeners, effects and the
 * like. All of it ends with the scope, and a child scope ends with its parent.
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

export class Scope {
  readonly #ending = new AbortController();

  /** Create a scope that also ends with `outer`, such as a host's signal, if given. */
  constructor(outer?: AbortSignal) {
    if (outer?.aborted) this.end();
    outer?.addEventListener("abort", () => this.end(), { signal: this.#ending.signal });
  }

  /** Return a scope that ends with this one, or before. */
  child(): Scope {
    return new Scope(this.#ending.signal);
  }

  /** Listen to events of `target`. */
  readonly on: Events = (
    target: EventTarget,
    type: string,
    listener: (event: never) => void,
    capture = false,
  ): void => {
    const { signal } = this.#ending;
    target.addEventListener(type, listener as (event: Event) => void, { capture, signal });
  };

  /** Run `run` now, and again whenever a signal that it read changes. */
  effect(run: () => unknown): void {
    this.onEnd(effect(run as () => void));
  }

  /** Call `cleanup` when the scope ends. */
  onEnd(cleanup: () => void): void {
    if (this.#ending.signal.aborted) cleanup();
    else this.#ending.signal.addEventListener("abort", cleanup);
  }

  /** End everything in the scope. */
  end(): void {
    this.#ending.abort();
  }
}
