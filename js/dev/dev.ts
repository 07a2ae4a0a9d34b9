/**
 * The widget on a synthetic image and matrix, with no kernel. The query
 * string chooses what to show: ?theme=dark&tokens=2,3&region=40,41&foil=a+blue+boat&phase=computing&outliers=40,77,
 * or ?captions=a+red+boat|a+blue+boat|two+fish
 */
import listed from "../captions.ts";
import exclip from "../main.ts";
import { png } from "../testing/mock.ts";
import { CHOICES, COLUMNS, MockKernel, ROWS } from "./kernel.ts";

const query = new URLSearchParams(location.search);
const indices = (name: string) => (query.get(name) ?? "").split(",").filter(Boolean).map(Number);
document.body.dataset.jpThemeLight = String(query.get("theme") !== "dark");

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

const wide = query.get("crop") === "wide";
const foil = query.get("foil");
const captions = (query.get("captions") ?? "").split("|").filter(Boolean);
const pace = Number(query.get("pace") ?? 250);
const empty = new DataView(new ArrayBuffer(0));
const model = new MockKernel({
  captions,
  caption:
    query.get("caption") ?? captions[0] ?? "a red boat left of two yellow fish under the small sun",
  foil,
  method: "exclip",
  text_layer: 2,
  image_layer: 7,
  ...(query.has("old") ? {} : { _choices: CHOICES }),
  _image: await png(wide ? 900 : 600, 600, draw),
  _image_type: "image/png",
  _grid: wide
    ? { rows: ROWS, columns: COLUMNS, left: 1 / 6, top: 0, width: 2 / 3, height: 1 }
    : { rows: ROWS, columns: COLUMNS, left: 0, top: 0, width: 1, height: 1 },
  _result: empty,
  tokens: indices("tokens"),
  region: indices("region"),
});
model.outliers = indices("outliers");
model.pace = 0;
model.compute({});
await new Promise((resolve) => setTimeout(resolve, 50));
model.pace = pace;
model.alive = !query.has("gone");

const host = document.querySelector<HTMLElement>("#widget");
const widget = captions.length > 0 ? listed() : exclip();
widget.initialize({ model });
if (host) widget.render({ model, el: host });

const phase = query.get("phase");
if (phase === "computing") {
  model.pace = 1e6;
  model.compute({});
  model.receive({ kind: "progress", id: 3, done: 42, total: 100 });
} else if (phase === "error") {
  const message = "The model ran out of memory. Choose a later layer.";
  model.request(3, "error", message);
} else if (phase === "cancelled") {
  model.request(3, "cancelled");
}
Object.assign(window, { model });
