/**
 * What anywidget loads. The host calls this factory once per widget, so the
 * closure is the widget's own: hosts hand `initialize` and each `render`
 * different proxies of one model, which cannot be told to be the same.
 */

import { mount } from "./parts/view.ts";
import type { Model } from "./protocol.ts";
import { createState, type WidgetState } from "./state/widget-state.ts";

/** Hosts before anywidget 0.11 pass no signal, and all run the returned cleanup. */
interface Start {
  model: Model;
  signal?: AbortSignal;
}

/** A lifetime that ends with the host's signal or with the cleanup, whichever is first. */
function lifetimeOf(host: AbortSignal | undefined): AbortController {
  const own = new AbortController();
  if (host?.aborted) own.abort();
  host?.addEventListener("abort", () => own.abort(), { signal: own.signal });
  return own;
}

export default function exclip() {
  let state: WidgetState | undefined;

  function initialize({ model, signal }: Start): () => void {
    const lifetime = lifetimeOf(signal);
    const started = createState(model);
    state = started;
    lifetime.signal.addEventListener("abort", () => started.dispose());
    return () => lifetime.abort();
  }

  function render({ model, el, signal }: Start & { el: HTMLElement }): () => void {
    const lifetime = lifetimeOf(signal);
    if (!state) {
      // A host that never initializes: the first view starts the widget.
      initialize({ model });
    }
    if (state) mount(el, state, lifetime.signal);
    return () => lifetime.abort();
  }

  return { initialize, render };
}
