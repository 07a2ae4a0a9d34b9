/** A gallery's model as a host passes it, and a kernel that has every tile. */
import type { GalleryModel, GalleryTraits, SentTile, ToKernel } from "../gallery/protocol.ts";
import { tokensOf } from "./mock.ts";

type Listener = (...given: never[]) => void;

const EMPTY = new DataView(new ArrayBuffer(0));

export interface Answer {
  header: Partial<SentTile>;
  picture?: DataView;
  heat?: Int8Array;
}

/** Return a heat map that differs from tile to tile. */
export function heatOf(tile: number, side: number): Int8Array {
  let seed = tile + 1;
  return Int8Array.from({ length: side * side }, () => {
    seed = (seed * 16807) % 2147483647;
    return (seed % 255) - 127;
  });
}

export class MockGallery implements GalleryModel {
  readonly sent: ToKernel[] = [];
  readonly #traits: Partial<GalleryTraits>;
  readonly #listeners = new Map<string, Set<Listener>>();

  /** `answer` creates a tile; if it is null, the kernel is silent. */
  constructor(
    traits: Partial<GalleryTraits>,
    private readonly answer: ((tile: number) => Answer) | null,
    private readonly delay = 0,
  ) {
    this.#traits = {
      phrase: "",
      words: [],
      order: "set",
      _tokens: [],
      _any_phrase: true,
      _orders: ["set", "match", "foils", "off_box", "special", "outlier"],
      _suggestions: [],
      _count: 0,
      _end: null,
      _request: { id: 1, phase: "done", message: "", shown: 1 },
      _revision: 1,
      ...traits,
    };
  }

  get<Name extends keyof GalleryTraits>(name: Name): GalleryTraits[Name] | undefined {
    return this.#traits[name] as GalleryTraits[Name] | undefined;
  }

  on(event: string, listener: Listener): void {
    this.#listeners.set(event, (this.#listeners.get(event) ?? new Set()).add(listener));
  }

  off(event: string, listener: Listener): void {
    this.#listeners.get(event)?.delete(listener);
  }

  #emit(event: string, ...given: unknown[]): void {
    for (const listener of this.#listeners.get(event) ?? []) listener(...(given as never[]));
  }

  get listening(): number {
    return [...this.#listeners.values()].reduce((sum, { size }) => sum + size, 0);
  }

  /** Update traits as the kernel does, which sends what belongs together in one update. */
  update(traits: Partial<GalleryTraits>): void {
    Object.assign(this.#traits, traits, { _revision: (this.get("_revision") ?? 0) + 1 });
    for (const name of [...Object.keys(traits), "_revision"]) this.#emit(`change:${name}`);
  }

  receive(content: Record<string, unknown>, ...buffers: ArrayBufferView[]): void {
    this.#emit("msg:custom", content, buffers);
  }

  /** Finish the ranking of a phrase. */
  ranked(phrase: string, id: number, end = 0.02): void {
    this.update({
      phrase,
      order: "match",
      _tokens: tokensOf(phrase),
      _end: end,
      _request: { id, phase: "done", message: "", shown: id },
    });
  }

  /** Send tiles as the kernel does. */
  tiles(request: number, numbers: readonly number[]): void {
    const answers = numbers.map((tile) => this.answer?.(tile) ?? { header: {} });
    const headers = answers.map(({ header, heat }, i) => {
      const side = Math.sqrt(heat?.length ?? 0);
      return {
        tile: numbers[i],
        image: `image ${numbers[i]}`,
        caption: `caption ${numbers[i]}`,
        foil: null,
        span: null,
        value: null,
        error: null,
        rows: side,
        columns: side,
        end: 0.01,
        crop: [0, 0, 1, 1],
        boxes: [],
        ...header,
      };
    });
    const buffers = answers.flatMap(({ picture = EMPTY, heat }) => [picture, heat ?? EMPTY]);
    this.receive({ kind: "tiles", request, tiles: headers }, ...buffers);
  }

  send(content: unknown): void {
    const message = content as ToKernel;
    this.sent.push(message);
    if (this.answer === null) return;
    const later = (act: () => void) => setTimeout(act, this.delay);
    if (message.kind === "join") later(() => this.receive({ kind: "alive" }));
    if (message.kind === "window" && message.request === this.get("_request")?.shown) {
      // In messages of eight tiles, as the kernel sends them.
      for (let start = 0; start < message.tiles.length; start += 8) {
        const some = message.tiles.slice(start, start + 8);
        later(() => this.tiles(message.request, some));
      }
    }
  }
}
