/**
 * A widget of anywidget's. The host calls the factory once for each widget, so
 * its closure is the widget's own: hosts hand `initialize` and each `render`
 * different proxies of one model, and nothing tells that they are the same.
 */
import type { InitializeProps, RenderProps } from "@anywidget/types";
import { message } from "./ui/message.ts";
import { Scope } from "./ui/scope.ts";

/** Hosts before anywidget 0.11 pass no signal; all of them run the returned cleanup. */
interface Start<M> extends Partial<Pick<InitializeProps, "signal">> {
  model: M;
}

/** What the views of a widget share. */
interface State {
  dispose(): void;
}

/** Return the factory of a widget, whose views are what `mount` puts into an element. */
export const widgetOf =
  <M, S extends State>(
    createState: (model: M) => S,
    mount: (el: HTMLElement, state: S, scope: Scope, model: M) => void,
  ) =>
  () => {
    let state: S | undefined;

    function initialize({ model, signal }: Start<M>): () => void {
      const scope = new Scope(signal);
      try {
        state = createState(model);
        scope.onEnd(state.dispose);
      } catch {
        // Each view tries again, and has a place to say why it could not.
      }
      return () => scope.end();
    }

    function render({ model, el, signal }: Start<M> & Pick<RenderProps, "el">): () => void {
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
