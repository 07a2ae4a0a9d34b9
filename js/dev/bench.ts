/**
 * The page that `npm run bench` drives: the built widget on the largest usual
 * matrix, 77 tokens x 1024 patches, with a clock on every pointer event.
 */
import type exclip from "../main.ts";
import type { MockModel as Model } from "../testing/mock.ts";
import { MockModel, payload, png, tokensOf, wholeImage } from "../testing/mock.ts";

const [TOKENS, SIDE] = [77, 32];
const CHUNK = 256 * 1024;

/** Made before the clock starts: a host has it too before it loads the module. */
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

/** When the frame that is being made has been painted. */
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
  /** The same, to the end of the frame: style, layout and painting too. */
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
// Registered in the event, after the widget's own: its frame callback is the last of the frame.
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

/** The same matrix again and again, as estimates that come from the kernel: how long each takes. */
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

/** Estimates of 64 MB together, in the kernel's chunks: the time between the browser's frames. */
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
      // A websocket hands over each message in a task of its own.
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
/** Kept: a new request empties the trait. */
const matrix = model.get("_result") as DataView;
const host = document.querySelector<HTMLElement>("#widget");
const start = performance.now();
const address = "./widget.js"; // not bundled: it is loaded as hosts load it
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
