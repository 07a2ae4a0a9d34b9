/**
 * The factory that anywidget expects. The host calls it once for each widget, so
 * its closure holds the widget's state. Hosts pass `initialize` and each `render`
 * different proxies of one model, and there is no way to tell that they are the same.
 */
import type { InitializeProps, RenderProps } from "@anywidget/types";
import { message } from "./ui/message.ts";
import { createScope, type Scope } from "./ui/scope.ts";

/** Hosts before anywidget 0.11 pass no signal; all of them run the returned cleanup. */
interface Start<M> extends Partial<Pick<InitializeProps, "signal">> {
  model: M;
}

/** What the views of a widget share. */
interface State {
  dispose(): void;
}

/** Return the factory of a widget whose views are put into an element by `mount`. */
export const widgetOf =
  <M, S extends State>(
    createState: (model: M) => S,
    mount: (el: HTMLElement, state: S, scope: Scope, model: M) => void,
  ) =>
  () => {
    let state: S | undefined;

    function initialize({ model, signal }: Start<M>): () => void {
      const scope = createScope(signal);
      try {
        state = createState(model);
        scope.onEnd(state.dispose);
      } catch {
        // Each view tries again, and can show why it failed.
      }
      return () => scope.end();
    }

    function render({ model, el, signal }: Start<M> & Pick<RenderProps, "el">): () => void {
      const scope = createScope(signal);
      try {
        // On a host that never initializes, the first view starts the widget.
        state ??= createState(model);
        mount(el, state, scope, model);
      } catch (error) {
        // A notebook may contain a state written by another version, or only half of one.
        scope.end();
        const { node, show } = message("exclip", "alert");
        show(`The saved state could not be read: ${error}. Run the cell again.`);
        el.append(node);
      }
      return () => scope.end();
    }

    return { initialize, render };
  };
