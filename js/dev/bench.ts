/**
 * The page that `npm run bench` drives: the built widget on the largest usual
 * matrix, 77 tokens x 1024 patches, with every pointer event timed.
 */
import type exclip from "../main.ts";
import type { MockModel as Model } from "../testing/mock.ts";
import { MockModel, payload, png, tokensOf, wholeImage } from "../testing/mock.ts";

const [TOKENS, SIDE] = [77, 32];
const CHUNK = 256 * 1024;

/** Created before the clock starts, as a host also has it before it loads the module. */
async function example(): Promise<Model> {
  const caption = Array.from({ length: TOKENS - 2 }, (_, i) => `word${i}`).join(" ");
  let seed = 3;
  const random = () => {
    seed = (seed * 16807) % 2147483647;
    return seed / 2147483647 - 0.5;
  };
  const values = Array.from({ length: TOKENS * SIDE * SIDE }, () => 0.001 * random());
  return new MockModel({
    caption,
    _tokens: tokensOf(caption),
    _image: await png(768, 768, (context) => {
      context.fillStyle = "#678";
      context.fillRect(0, 0, 768, 768);
    }),
    _image_type: "image/png",
    _grid: wholeImage(SIDE, SIDE),
    _summary: { similarity: 0.3, residual: 0.01, total: 0.29, error: null },
    _result: payload(values, new Float32Array(TOKENS)),
    _request: { id: 0, phase: "done", message: "" },
    tokens: [],
    region: [],
  });
}

/** Return the time when the current frame has been painted. */
const presented = () =>
  new Promise<number>((resolve) =>
    requestAnimationFrame(() => {
      const { port1, port2 } = new MessageChannel();
      port1.onmessage = () => resolve(performance.now());
      port2.postMessage(null);
    }),
  );

export interface Sample {
  /** From the event's first listener to the end of the widget's drawing, in ms. */
  drawn: number;
  /** The same, to the end of the frame, with style, layout and painting. */
  presented: number;
}

const samples: Sample[] = [];
let begun = 0;
addEventListener(
  "pointermove",
  () => {
    begun = performance.now();
  },
  { capture: true },
);
// Its frame callback is requested after the widget's own, so it is the last of the frame.
addEventListener("pointermove", () => {
  const start = begun;
  const sample: Sample = { drawn: 0, presented: 0 };
  requestAnimationFrame(() => {
    sample.drawn = performance.now() - start;
  });
  presented().then((end) => {
    sample.presented = end - start;
    samples.push(sample);
  });
});

/** Send the same matrix again and again as estimates from the kernel; return how long each takes. */
async function refine(times: number): Promise<Sample[]> {
  const taken: Sample[] = [];
  model.begin(1);
  for (let frame = 0; frame < times; frame++) {
    const start = performance.now();
    const place = { kind: "estimate", id: 1, part: "caption", frame, offset: 0 };
    model.receive({ ...place, bytes: matrix.byteLength }, matrix);
    const drawn = performance.now() - start;
    taken.push({ drawn, presented: (await presented()) - start });
  }
  return taken;
}

/** Stream estimates of 64 MB in all, in the kernel's chunks; return the time between the browser's frames. */
async function stream(): Promise<number[]> {
  const bytes = matrix.byteLength;
  const gaps: number[] = [];
  let last = performance.now();
  let running = true;
  const watch = () => {
    const now = performance.now();
    gaps.push(now - last);
    last = now;
    if (running) requestAnimationFrame(watch);
  };
  requestAnimationFrame(watch);
  model.begin(2);
  for (let frame = 0; frame < 64e6 / bytes; frame++) {
    for (let offset = 0; offset < bytes; offset += CHUNK) {
      const size = Math.min(CHUNK, bytes - offset);
      const piece = new DataView(matrix.buffer, matrix.byteOffset + offset, size);
      const place = { kind: "estimate", id: 2, part: "caption", frame, offset, bytes };
      model.receive(place, piece);
      // A websocket delivers each message in its own task.
      await new Promise<void>((resolve) => {
        const { port1, port2 } = new MessageChannel();
        port1.onmessage = () => resolve();
        port2.postMessage(null);
      });
    }
  }
  running = false;
  return gaps;
}

const model = await example();
/** Stored here, because a new request empties the trait. */
const matrix = model.get("_result") as DataView;
const host = document.querySelector<HTMLElement>("#widget");
const start = performance.now();
const address = "./widget.js"; // not bundled: loaded the way hosts load it
const module: { default: typeof exclip } = await import(address);
const loaded = performance.now();
const widget = module.default();
widget.initialize({ model });
if (host) widget.render({ model, el: host });
const first = await presented();

Object.assign(window, {
  bench: {
    load: loaded - start,
    firstPaint: first - loaded,
    take: () => samples.splice(0),
    refine,
    stream,
  },
});
