/** What anywidget loads for a gallery; as `main.ts`, with a state for each widget. */
import type { InitializeProps, RenderProps } from "@anywidget/types";
import type { GalleryModel } from "./gallery/protocol.ts";
import { createGalleryState, type GalleryState } from "./gallery/state.ts";
import { mountGallery } from "./gallery/view.ts";
import { Scope } from "./ui/scope.ts";

/** Hosts before anywidget 0.11 pass no signal; all of them run the returned cleanup. */
interface Start extends Partial<Pick<InitializeProps, "signal">> {
  model: GalleryModel;
}

export default function gallery() {
  let state: GalleryState | undefined;

  function initialize({ model, signal }: Start): () => void {
    const scope = new Scope(signal);
    const started = createGalleryState(model);
    state = started;
    scope.onEnd(started.dispose);
    return () => scope.end();
  }

  function render({ model, el, signal }: Start & Pick<RenderProps, "el">): () => void {
    const scope = new Scope(signal);
    // On a host that never initializes, the first view starts the widget.
    if (!state) initialize({ model });
    if (state) mountGallery(el, state, scope);
    return () => scope.end();
  }

  return { initialize, render };
}
