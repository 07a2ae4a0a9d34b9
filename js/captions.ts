/** The module that anywidget loads for several captions: adds their list. Written pages run it too. */
import type { AnyWidget } from "@anywidget/types";
import { captionList } from "./parts/caption-list.ts";
import { mount } from "./parts/view.ts";
import type { Traits } from "./protocol.ts";
import { createListed } from "./state/listed.ts";
import { createState } from "./state/widget-state.ts";
import { widgetOf } from "./widget.ts";

export default widgetOf(createState, (el, state, scope, model) => {
  mount(el, state, scope);
  const list = captionList(state, createListed(model, scope), scope);
  el.querySelector(".exclip-right")?.prepend(list);
}) satisfies AnyWidget<Partial<Traits>>;
