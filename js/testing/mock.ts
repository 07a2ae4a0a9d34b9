/** A model as a host passes it to the widget, but without a host, and helpers for small known results. */
import type { Grid, Model, Request, ToKernel, Token, Traits } from "../protocol.ts";

type Listener = (...given: never[]) => void;

const EMPTY = new DataView(new ArrayBuffer(0));

export class MockModel implements Model {
  readonly sent: ToKernel[] = [];
  /** The buffers sent with each message, in the same order. */
  readonly buffers: ArrayBuffer[][] = [];
  saved = 0;
  readonly listeners = new Map<string, Set<Listener>>();
  readonly #traits: Partial<Traits>;

  constructor(traits: Partial<Traits>) {
    this.#traits = { ...traits };
  }

  traits(): Partial<Traits> {
    return { ...this.#traits };
  }

  get<Name extends keyof Traits>(name: Name): Partial<Traits>[Name] {
    return this.#traits[name] as Partial<Traits>[Name];
  }

  set<Name extends keyof Traits>(name: Name, value: Partial<Traits>[Name]): void {
    this.#traits[name] = value;
    this.emit(`change:${name}`);
  }

  /** Set the phase of a request, as the kernel reports it. */
  request(id: number, phase: Request["phase"], message = "", changes: Partial<Traits> = {}): void {
    this.update({ ...changes, _request: { id, phase, message } });
  }

  /** Begin a request that the kernel has accepted. */
  begin(id: number, changes: Partial<Traits> = {}): void {
    const nothing = { _result: EMPTY, _foil_result: EMPTY, _summary: null };
    this.request(id, "computing", "", { ...nothing, ...changes });
  }

  /** Finish a request. */
  finish(id: number, changes: Partial<Traits>): void {
    this.request(id, "done", "", changes);
  }

  /** Update traits as the kernel does, which sends what belongs together in one update. */
  update(traits: Partial<Traits>): void {
    Object.assign(this.#traits, traits);
    for (const name of Object.keys(traits)) this.emit(`change:${name}`);
  }

  save_changes(): void {
    this.saved += 1;
  }

  send(content: ToKernel, _callbacks?: unknown, buffers: ArrayBuffer[] = []): void {
    this.sent.push(content);
    this.buffers.push(buffers);
  }

  on(event: string, listener: Listener): void {
    this.listeners.set(event, (this.listeners.get(event) ?? new Set()).add(listener));
  }

  off(event?: string | null, listener?: Listener | null): void {
    if (event && listener) this.listeners.get(event)?.delete(listener);
  }

  emit(event: string, ...given: unknown[]): void {
    for (const listener of this.listeners.get(event) ?? []) listener(...(given as never[]));
  }

  /** Receive a message from the kernel. */
  receive(content: Record<string, unknown>, ...buffers: DataView[]): void {
    this.emit("msg:custom", content, buffers);
  }

  get listening(): number {
    return [...this.listeners.values()].reduce((sum, { size }) => sum + size, 0);
  }
}

/** Return the tokens of a caption: one for each word between blanks, inside `<sot>` and `<eot>`. */
export function tokensOf(caption: string): Token[] {
  const special = { word: -1, special: true, start: null, end: null };
  const letters = Array.from(caption);
  const tokens: Token[] = [];
  for (let start = 0; start < letters.length; ) {
    let end = start;
    while (end < letters.length && letters[end] !== " ") end++;
    if (end > start) {
      const text = letters.slice(start, end).join("");
      tokens.push({ text, word: tokens.length, special: false, start, end });
    }
    start = end + 1;
  }
  return [{ text: "<sot>", ...special }, ...tokens, { text: "<eot>", ...special }];
}

export const wholeImage = (rows: number, columns: number): Grid => ({
  rows,
  columns,
  left: 0,
  top: 0,
  width: 1,
  height: 1,
});

/** Return values then cls, at an odd offset of a larger buffer, as hosts pass them. */
export function payload(values: ArrayLike<number>, cls: ArrayLike<number>): DataView {
  const view = new DataView(new ArrayBuffer(4 * (values.length + cls.length) + 7), 3);
  [...Array.from(values), ...Array.from(cls)].forEach((value, i) => {
    view.setFloat32(4 * i, value, true);
  });
  return new DataView(view.buffer, 3, 4 * (values.length + cls.length));
}

/** Draw a plain image as the kernel would send it. */
export async function png(
  width: number,
  height: number,
  draw: (context: CanvasRenderingContext2D) => void,
): Promise<DataView> {
  const canvas = document.createElement("canvas");
  Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d");
  if (context) draw(context);
  const blob = await new Promise<Blob | null>((resolve) => canvas.toBlob(resolve));
  return new DataView(await (blob as Blob).arrayBuffer());
}
