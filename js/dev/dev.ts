/**
 * The widget on a synthetic picture and matrix, with no kernel. The address
 * chooses what to see: ?theme=dark&tokens=2,3&region=40,41&phase=computing
 */
import { MockModel, payload, png, tokensOf } from "../test/mock.ts";
import exclip from "../widget.ts";

const query = new URLSearchParams(location.search);
const indices = (name: string) => (query.get(name) ?? "").split(",").filter(Boolean).map(Number);
document.body.dataset.jpThemeLight = String(query.get("theme") !== "dark");

const caption = query.get("caption") ?? "a red boat left of two yellow fish under the small sun";
const tokens = tokensOf(caption);
const [rows, columns] = [12, 12];
const wide = query.get("crop") === "wide";

/** Where each word's object lies, in patches: [column, row, radius, strength]. */
const PLACES: Record<string, [number, number, number, number][]> = {
  red: [[2.8, 6.2, 1.6, 0.8]],
  boat: [
    [2.8, 6.2, 1.9, 1],
    [8.4, 8.5, 2, -0.25],
  ],
  left: [[3.5, 6.5, 2.5, 0.2]],
  two: [[8.3, 8.4, 2.2, 0.25]],
  yellow: [
    [8.3, 8.4, 1.9, 0.7],
    [9.3, 2.2, 1.4, 0.5],
  ],
  fish: [
    [7.2, 9.1, 1.5, 0.9],
    [9.4, 7.6, 1.4, 0.8],
    [2.8, 6.2, 1.8, -0.4],
  ],
  sun: [[9.3, 2.2, 1.6, 0.9]],
  small: [[9.3, 2.2, 1.5, 0.3]],
};

function draw(context: CanvasRenderingContext2D): void {
  const { width, height } = context.canvas;
  const left = wide ? (width - height) / 2 : 0;
  const unit = height / 12;
  const sky = context.createLinearGradient(0, 0, 0, height);
  sky.addColorStop(0, "#bfe3f2");
  sky.addColorStop(1, "#e9f3ee");
  context.fillStyle = sky;
  context.fillRect(0, 0, width, height);
  context.fillStyle = "#3f8fae";
  context.fillRect(0, 6.6 * unit, width, height);
  context.fillStyle = "#4f9dba";
  for (let i = 0; i < 26; i++) {
    context.fillRect(((i * 137) % width) - 20, (6.9 + ((i * 53) % 50) / 10) * unit, 1.2 * unit, 2);
  }
  context.translate(left, 0);
  context.fillStyle = "#f4b52e";
  context.beginPath();
  context.arc(9.8 * unit, 2.7 * unit, 1.1 * unit, 0, 7);
  context.fill();
  context.fillStyle = "#c8402f";
  context.beginPath();
  context.moveTo(1.4 * unit, 6.4 * unit);
  context.lineTo(5.2 * unit, 6.4 * unit);
  context.lineTo(4.4 * unit, 7.7 * unit);
  context.lineTo(2.1 * unit, 7.7 * unit);
  context.fill();
  context.fillStyle = "#f5efe2";
  context.beginPath();
  context.moveTo(3.3 * unit, 3.4 * unit);
  context.lineTo(5 * unit, 6.1 * unit);
  context.lineTo(3.3 * unit, 6.1 * unit);
  context.fill();
  context.fillRect(3.1 * unit, 3.2 * unit, 0.15 * unit, 3.3 * unit);
  for (const [x, y] of [
    [7.6, 9.6],
    [9.8, 8.1],
  ] as const) {
    context.fillStyle = "#f0cf3a";
    context.beginPath();
    context.ellipse(x * unit, y * unit, 1.05 * unit, 0.6 * unit, 0, 0, 7);
    context.fill();
    context.beginPath();
    context.moveTo((x + 0.8) * unit, y * unit);
    context.lineTo((x + 1.6) * unit, (y - 0.55) * unit);
    context.lineTo((x + 1.6) * unit, (y + 0.55) * unit);
    context.fill();
    context.fillStyle = "#223";
    context.beginPath();
    context.arc((x - 0.6) * unit, (y - 0.12) * unit, 0.11 * unit, 0, 7);
    context.fill();
  }
}

/** Bumps at the objects over a little noise, the same on every visit. */
function matrix(): { values: number[]; cls: number[] } {
  let seed = 7;
  const noise = () => {
    seed = (seed * 16807) % 2147483647;
    return seed / 2147483647 - 0.5;
  };
  const values = tokens.flatMap(({ text }) =>
    Array.from({ length: rows * columns }, (_, p) => {
      const [y, x] = [Math.floor(p / columns) + 0.5, (p % columns) + 0.5];
      let value = 0.0006 * noise();
      for (const [px, py, radius, strength] of PLACES[text] ?? []) {
        const distance = ((x - px - 0.5) ** 2 + (y - py - 0.5) ** 2) / radius ** 2;
        value += 0.011 * strength * Math.exp(-distance);
      }
      return value;
    }),
  );
  return { values, cls: tokens.map(() => 0.001 * noise()) };
}

const phase = query.get("phase") ?? "done";
const { values, cls } = matrix();
const fresh = query.has("fresh");
const model = new MockModel({
  caption,
  _tokens: tokens,
  _picture: await png(wide ? 900 : 600, 600, draw),
  _picture_type: "image/png",
  _grid: wide
    ? { rows, columns, left: 1 / 6, top: 0, width: 2 / 3, height: 1 }
    : { rows, columns, left: 0, top: 0, width: 1, height: 1 },
  _summary: fresh ? null : { similarity: 0.4117, residual: 0.0081, total: 0.408 },
  _result: fresh ? new DataView(new ArrayBuffer(0)) : payload(values, cls),
  _result_shape: [tokens.length, rows, columns],
  _status: { phase: "done", message: "" },
  tokens: indices("tokens"),
  region: indices("region"),
});

const host = document.querySelector<HTMLElement>("#widget");
const widget = exclip();
widget.initialize({ model });
if (host) widget.render({ model, el: host });

if (phase === "computing") {
  model.receive({ kind: "begin", id: 1, shape: [tokens.length, rows, columns], frames: 4 });
  model.receive({ kind: "progress", id: 1, done: 42, total: 100 });
} else if (phase === "error") {
  model.receive({
    kind: "error",
    id: 1,
    message:
      "The caption has 91 tokens, and this model reads at most 77. Shorten it by 14 tokens or more.",
  });
} else if (phase === "cancelled") {
  model.receive({ kind: "cancelled", id: 1 });
}
Object.assign(window, { model });
