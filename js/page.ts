/**
 * Pages: the front end in a file of its own, with no kernel and no network. Each
 * figure on the page is rendered from its state, which is in a block of JSON.
 * `exclip_widget/results/page.py` writes such files.
 */
import exclip from "./captions.ts";
import type { Traits } from "./protocol.ts";
import { modelOf } from "./state/local-model.ts";

/** Parse a block of JSON, in which bytes are `{"base64": …}`. */
function stateOf(text: string): Partial<Traits> {
  return JSON.parse(text, (_, value) => {
    if (typeof value?.base64 !== "string") return value;
    const bytes = Uint8Array.from(atob(value.base64), (char) => char.charCodeAt(0));
    return new DataView(bytes.buffer);
  });
}

/** The image of each figure. A repeated image is stored once, then referred to as `{"of": number}`. */
const images: unknown[] = [];

for (const block of document.querySelectorAll('figure > script[type="application/json"]')) {
  const el = document.createElement("div");
  const state: Record<string, unknown> = stateOf(block.textContent ?? "");
  const shared = state._image as { of?: number } | undefined;
  if (shared?.of !== undefined) state._image = images[shared.of];
  images.push(state._image);
  const model = modelOf(state);
  block.replaceWith(el);
  const widget = exclip();
  widget.initialize({ model });
  widget.render({ model, el });
}

// Paper is white, whatever the screen's theme. What is there when the event ends gets printed, so nothing
// may wait for the next frame.
const nextFrame = window.requestAnimationFrame;
addEventListener("beforeprint", () => {
  window.requestAnimationFrame = (paint) => {
    paint(performance.now());
    return 0;
  };
  document.documentElement.dataset.theme = "light";
});
addEventListener("afterprint", () => {
  window.requestAnimationFrame = nextFrame;
  delete document.documentElement.dataset.theme;
});
