/**
 * The gallery page of `npm run bench`: the built module with 10,000 images, and a
 * mock kernel that has every tile and answers after the time that a message takes.
 */
import type gallery from "../gallery.ts";
import { type Answer, heatOf, MockGallery } from "../testing/gallery-mock.ts";

const COUNT = 10_000;
const SIDE = 14;
/** Time between a message from the browser and the kernel's first answer. */
const KERNEL_MS = 20;
const PICTURES = 64;

/** Create what a decoder would take for a photograph: noise over a gradient, as JPEG. */
async function photograph(seed: number): Promise<DataView> {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [256, seed % 3 === 0 ? 192 : 256];
  const context = canvas.getContext("2d");
  if (context) {
    const gradient = context.createLinearGradient(0, 0, canvas.width, canvas.height);
    gradient.addColorStop(0, `hsl(${(seed * 47) % 360} 50% 60%)`);
    gradient.addColorStop(1, `hsl(${(seed * 91) % 360} 40% 35%)`);
    context.fillStyle = gradient;
    context.fillRect(0, 0, canvas.width, canvas.height);
    for (let i = 0; i < 1500; i++) {
      context.fillStyle = `hsl(${(i * 37) % 360} 40% 50% / 0.3)`;
      context.fillRect((i * 131) % canvas.width, (i * i * 7) % canvas.height, 9, 5);
    }
  }
  const blob = await new Promise<Blob | null>((resolve) =>
    canvas.toBlob(resolve, "image/jpeg", 0.85),
  );
  return new DataView(await (blob as Blob).arrayBuffer());
}

const pictures: DataView[] = [];
for (let seed = 0; seed < PICTURES; seed++) pictures.push(await photograph(seed));
const answer = (tile: number): Answer => ({
  header: { value: 0.02 - tile / 1e6, caption: `two small orange cups left of a red car ${tile}` },
  picture: pictures[tile % PICTURES] as DataView,
  heat: heatOf(tile, SIDE),
});
const model = new MockGallery({ _count: COUNT, _end: 0.01 }, answer, KERNEL_MS);
const el = document.querySelector<HTMLElement>("#widget");
const address = "./gallery.js"; // not bundled: loaded the way hosts load it
const module: { default: typeof gallery } = await import(address);
const widget = module.default();
widget.initialize({ model });
if (el) widget.render({ model, el });

const grid = () =>
  document.querySelector<HTMLElement>('[data-testid="exclip-grid"]') as HTMLElement;
const frame = () => new Promise<number>(requestAnimationFrame);
const sees = (node: Element) => {
  const { top, bottom } = node.getBoundingClientRect();
  const view = grid().getBoundingClientRect();
  return bottom > view.top && top < view.bottom;
};

/** Whether each visible tile has its picture and its heat map. */
function isComplete(): boolean {
  const tiles = [...document.querySelectorAll(".exclip-tile")].filter(sees);
  return (
    tiles.length > 0 &&
    tiles.every((tile) => tile.querySelector(".exclip-loaded .exclip-tile-heat:not([hidden])"))
  );
}

async function complete(): Promise<number> {
  const start = performance.now();
  while (!isComplete()) await frame();
  return performance.now() - start;
}

/** Scroll by `pixels` in each frame; return the time between frames. */
async function scroll(frames: number, pixels: number): Promise<number[]> {
  const gaps: number[] = [];
  let last = await frame();
  for (let i = 0; i < frames; i++) {
    grid().scrollTop += pixels;
    const now = await frame();
    gaps.push(now - last);
    last = now;
  }
  return gaps;
}

/** Return the times from the kernel's new order until all visible heat maps are there. */
async function phrases(times: number): Promise<number[]> {
  const taken: number[] = [];
  for (let i = 0; i < times; i++) {
    const start = performance.now();
    model.ranked(`phrase ${i}`, 2 + i, 0.01);
    await frame(); // until it is drawn, the previous order's tiles are there
    await frame();
    await complete();
    await frame();
    taken.push(performance.now() - start);
  }
  return taken;
}

/** Jump to places all over the grid; return how long each takes to be complete. */
async function jumps(times: number): Promise<number[]> {
  const taken: number[] = [];
  for (let i = 0; i < times; i++) {
    const start = performance.now();
    grid().scrollTop = (grid().scrollHeight * ((i * 37) % 100)) / 100;
    await frame();
    await frame();
    await complete();
    taken.push(performance.now() - start);
  }
  return taken;
}

const nodes = () => document.querySelectorAll("#widget *").length;

Object.assign(window, { gallery: { complete, scroll, phrases, jumps, nodes } });
