/**
 * A widget of anywidget's. The host calls the factory once for each widget, so
 * its closure is the widget's own: hosts hand `initialize` and each `render`
 * different proxies of one model, and nothing tells that they are the same.
 */
import type { InitializeProps, RenderProps } from "@anywidget/types";
import type { Model } from "./protocol.ts";
import { createState, type WidgetState } from "./state/widget-state.ts";
import { message } from "./ui/message.ts";
import { Scope } from "./ui/scope.ts";

/** Hosts before anywidget 0.11 pass no signal; all of them run the returned cleanup. */
interface Start extends Partial<Pick<InitializeProps, "signal">> {
  model: Model;
}

/** Return the factory of a widget whose views are what `mount` puts into an element. */
export const widgetOf =
  (mount: (el: HTMLElement, state: WidgetState, scope: Scope, model: Model) => void) => () => {
    let state: WidgetState | undefined;

    function initialize({ model, signal }: Start): () => void {
      const scope = new Scope(signal);
      try {
        state = createState(model);
        scope.onEnd(state.dispose);
      } catch {
        // Each view tries again, and has a place to say why it could not.
      }
      return () => scope.end();
    }

    function render({ model, el, signal }: Start & Pick<RenderProps, "el">): () => void {
      const scope = new Scope(signal);
      try {
        // On a host that never initializes, the first view starts the widget.
        state ??= createState(model);
        mount(el, state, scope, model);
      } catch (error) {
        // A notebook may hold what another version has written, or half of it.
        scope.end();
        const { node, show } = message("exclip", "alert");
        show(`The saved state could not be read: ${error}. Run the cell again.`);
        el.append(node);
      }
      return () => scope.end();
    }

    return { initialize, render };
  };
