/** Opens the widget on a small example whose every number is known. */
import { vi } from "vitest";
import { commands } from "vitest/browser";
import exclip from "../main.ts";
import type { TextName, ToKernel, Traits } from "../protocol.ts";
import type { Point } from "./drag.command.ts";
import { MockModel, payload, png, tokensOf, wholeImage } from "./mock.ts";

export const CAPTION = "a red boat";
export const [ROWS, COLUMNS] = [3, 4];
export const PATCHES = ROWS * COLUMNS;

/** Return an entry of the example: both signs occur, and no two sums are alike. */
export const entry = (token: number, patch: number) =>
  ((token * 7 + patch * 5) % 11) / 512 - 0.01 + token / 4096;

/** Return what a sum over entries should be, from the float32 numbers that the widget gets. */
export function sum(tokens: number[], patches: number[]): number {
  return tokens
    .flatMap((t) => patches.map((p) => Math.fround(entry(t, p))))
    .reduce((total, value) => total + value, 0);
}

export const range = (n: number) => Array.from({ length: n }, (_, i) => i);

export function result(tokens: number, patches = PATCHES): DataView {
  return payload(
    range(tokens * patches).map((i) => entry(Math.floor(i / patches), i % patches)),
    range(tokens).map(() => 0),
  );
}

export const EMPTY = new DataView(new ArrayBuffer(0));

export const CHOICES = {
  methods: ["exclip", "similarity", "gradient", "banzhaf"],
  text_layers: range(3).map((i) => `transformer.resblocks.${i}`),
  image_layers: range(6).map((i) => `visual.transformer.resblocks.${i}`),
};

let image: Promise<DataView> | undefined;

export async function traits(changes: Partial<Traits> = {}): Promise<Partial<Traits>> {
  image ??= png(160, 120, (context) => {
    context.fillStyle = "#8a8f7c";
    context.fillRect(0, 0, 160, 120);
  });
  const caption = changes.caption ?? CAPTION;
  const tokens = changes._tokens ?? tokensOf(caption);
  return {
    caption,
    foil: null,
    method: "exclip",
    text_layer: 0,
    image_layer: 2,
    _choices: CHOICES,
    _tokens: tokens,
    _foil_tokens: [],
    _alignment: [],
    _image: await image,
    _image_type: "image/png",
    _grid: wholeImage(ROWS, COLUMNS),
    _summary: { similarity: 0.412, residual: 0.008, total: 0.4, error: null },
    _result: result(tokens.length),
    _foil_result: EMPTY,
    _tests: [],
    _revision: 0,
    _request: { id: 0, phase: "done", message: "" },
    tokens: [],
    region: [],
    ...changes,
  };
}

/** Return a state of `tests/protocol` as a host passes it: bytes are views. */
export const stateOf = (state: object) =>
  Object.fromEntries(
    Object.entries(state).map(([name, value]) => [
      name,
      typeof value?.base64 === "string" ? bytesOf(value.base64) : value,
    ]),
  ) as Partial<Traits>;

const bytesOf = (text: string) =>
  new DataView(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer);

/** Wait two frames: one to paint in, one to be sure that it happened. */
export async function painted(): Promise<void> {
  for (let i = 0; i < 2; i++) await new Promise(requestAnimationFrame);
}

export class View {
  readonly el: HTMLElement;
  readonly close: () => void;

  constructor(widget: ReturnType<typeof exclip>, model: MockModel, signal?: AbortSignal) {
    this.el = document.createElement("div");
    document.body.append(this.el);
    this.close = widget.render({ model, el: this.el, ...(signal ? { signal } : {}) });
  }

  /** Wait until the image has its shape and everything is painted, so that places stay where they are. */
  async settled(): Promise<this> {
    // The pointer may rest where the last test left it, over what is now a word.
    await commands.drag([[0, 0]]);
    const image = this.el.querySelector("img");
    await image?.decode().catch(() => undefined);
    await painted();
    return this;
  }

  find<Kind extends HTMLElement = HTMLElement>(testid: string): Kind {
    const found = this.el.querySelector<Kind>(`[data-testid="${testid}"]`);
    if (!found) throw new Error(`no ${testid}`);
    return found;
  }

  get root(): HTMLElement {
    return this.find("exclip");
  }

  get canvas(): HTMLCanvasElement {
    return this.find<HTMLCanvasElement>("exclip-heat");
  }

  get words(): HTMLButtonElement[] {
    return [...this.el.querySelectorAll<HTMLButtonElement>('[data-testid="exclip-word"]')];
  }

  word(text: string): HTMLButtonElement {
    const word = this.words.find((node) => node.textContent === text);
    if (!word) throw new Error(`no word ${text}`);
    return word;
  }

  get pressed(): string[] {
    return this.words
      .filter((node) => node.getAttribute("aria-pressed") === "true")
      .map((node) => node.textContent ?? "");
  }

  figure(name: string): number {
    return Number(this.el.querySelector<HTMLElement>(`[data-figure="${name}"]`)?.dataset.value);
  }

  values(): number[] {
    return this.words.map((node) => Number(node.dataset.value));
  }

  /** Return the middle of a patch of the example's grid, on the page. */
  patch(index: number): Point {
    const { left, top, width, height } = this.canvas.getBoundingClientRect();
    const [row, column] = [Math.floor(index / COLUMNS), index % COLUMNS];
    return [left + (width * (column + 0.5)) / COLUMNS, top + (height * (row + 0.5)) / ROWS];
  }

  middle(word: string): Point {
    const { left, top, width, height } = this.word(word).getBoundingClientRect();
    return [left + width / 2, top + height / 3];
  }

  /** Return the canvas's colour (r, g, b, a) a little off the middle of a patch. */
  pixel(patch: number): number[] {
    const { width, height } = this.canvas;
    const [row, column] = [Math.floor(patch / COLUMNS), patch % COLUMNS];
    const x = Math.floor((width * (column + 0.4)) / COLUMNS);
    const y = Math.floor((height * (row + 0.4)) / ROWS);
    return [...(this.canvas.getContext("2d")?.getImageData(x, y, 1, 1).data ?? [])];
  }

  /** Return the whole canvas, to compare. */
  pixels(): string {
    return this.canvas.toDataURL();
  }
}

export async function open(changes: Partial<Traits> = {}, make = exclip) {
  const model = new MockModel(await traits(changes));
  const widget = make();
  const stop = widget.initialize({ model });
  const view = await new View(widget, model).settled();
  return { model, widget, stop, view };
}

/** Real pointers, as in `drag.command.ts`. */
export const click = (point: Point, keys: string[] = []) => commands.drag([point], keys);
export const drag = (points: Point[], keys: string[] = []) => commands.drag(points, keys);

export function center(node: Element): Point {
  const { left, top, width, height } = node.getBoundingClientRect();
  return [left + width / 2, top + height / 2];
}

/** Traits of a widget whose kernel has computed nothing yet. */
export const NOTHING: Partial<Traits> = {
  _result: EMPTY,
  _summary: null,
  _request: { id: 0, phase: "cancelled", message: "" },
};

/** Return a frame of an estimate, or a part of one, as the kernel sends it. */
export const estimate = (
  id: number,
  data: DataView,
  frame = 0,
  {
    part = "caption",
    offset = 0,
    bytes = data.byteLength,
  }: {
    part?: TextName;
    offset?: number;
    bytes?: number;
  } = {},
) => [{ kind: "estimate", id, part, frame, offset, bytes }, data] as const;

type Change = Extract<ToKernel, { kind: "change" }>;

export const changesAsked = (model: MockModel) =>
  model.sent.filter((message): message is Change => message.kind === "change");
export const lastChange = (model: MockModel) => changesAsked(model).at(-1) as Change;
export const accept = (model: MockModel, { question }: { question: number } = lastChange(model)) =>
  model.receive({ kind: "accepted", question });
export const refuse = (
  model: MockModel,
  message: string,
  { question }: { question: number } = lastChange(model),
) => model.receive({ kind: "refused", question, message });

/** Let the time for an answer pass, while timers are frozen; the kernel then turns out to be there. */
export function missAnswer(model: MockModel): void {
  vi.advanceTimersByTime(11_000);
  model.receive({ kind: "alive" });
}
