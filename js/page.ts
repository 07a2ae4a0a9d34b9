/**
 * Pages: the front end in a file of its own, without a kernel and without a
 * network. Each figure of the page has its state in a block of JSON, from which
 * it is shown. `exclip_widget/results/page.py` writes such files.
 */
import exclip from "./main.ts";
import type { Traits } from "./protocol.ts";
import { modelOf } from "./state/local-model.ts";

/** Read a block of JSON, in which bytes are `{"base64": …}`. */
function stateOf(text: string): Partial<Traits> {
  return JSON.parse(text, (_, value) => {
    if (typeof value?.base64 !== "string") return value;
    const bytes = Uint8Array.from(atob(value.base64), (char) => char.charCodeAt(0));
    return new DataView(bytes.buffer);
  });
}

for (const block of document.querySelectorAll('figure > script[type="application/json"]')) {
  const el = document.createElement("div");
  const model = modelOf(stateOf(block.textContent ?? ""));
  block.replaceWith(el);
  const widget = exclip();
  widget.initialize({ model });
  widget.render({ model, el });
}
