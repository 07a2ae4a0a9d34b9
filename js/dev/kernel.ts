/**
 * A kernel in the page: answers what the widget asks with a synthetic image and
 * matrix. It is slow on purpose, so that intermediate states can be seen.
 */
import type {
  AlignedRows,
  Changes,
  Layer,
  MaskingTest,
  Scores,
  ToKernel,
  Traits,
} from "../protocol.ts";
import { MockModel, payload, tokensOf } from "../testing/mock.ts";

export const [ROWS, COLUMNS] = [12, 12];
const FRAMES = 4;
const EMPTY = new DataView(new ArrayBuffer(0));
const WORDS_MOST = 75;

export const CHOICES = {
  methods: ["exclip", "similarity", "gradient", "banzhaf"],
  text_layers: Array.from({ length: 6 }, (_, i) => `transformer.resblocks.${i}`),
  image_layers: Array.from({ length: 12 }, (_, i) => `visual.transformer.resblocks.${i}`),
};

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
  blue: [
    [8.3, 8.4, 2, -0.5],
    [5, 9, 4, 0.25],
  ],
  fish: [
    [7.2, 9.1, 1.5, 0.9],
    [9.4, 7.6, 1.4, 0.8],
    [2.8, 6.2, 1.8, -0.4],
  ],
  sun: [[9.3, 2.2, 1.6, 0.9]],
  small: [[9.3, 2.2, 1.5, 0.3]],
};

/** Return bumps at the objects over a little noise, the same every time; narrower at early layers. */
function matrixOf(caption: string, layer: Layer, shift: number): DataView {
  let seed = 7 + shift;
  const noise = () => {
    seed = (seed * 16807) % 2147483647;
    return seed / 2147483647 - 0.5;
  };
  const depth = layer === "output" ? 12 : layer;
  const blur = 0.6 + depth / 10;
  const tokens = tokensOf(caption);
  const values = tokens.flatMap(({ text }) =>
    Array.from({ length: ROWS * COLUMNS }, (_, p) => {
      const [y, x] = [Math.floor(p / COLUMNS) + 0.5, (p % COLUMNS) + 0.5];
      let value = 0.0006 * noise();
      for (const [px, py, radius, strength] of PLACES[text] ?? []) {
        const distance = ((x - px - 0.5) ** 2 + (y - py - 0.5) ** 2) / (radius * blur) ** 2;
        value += (0.011 / blur) * strength * Math.exp(-distance);
      }
      return value;
    }),
  );
  return payload(
    values,
    tokens.map(() => 0.001 * noise()),
  );
}

/** Return what the paths cover; the quadrature misses 0.8 % of it. */
function totalOf(result: DataView): number {
  let sum = 0;
  for (let at = 0; at < result.byteLength; at += 4) sum += result.getFloat32(at, true);
  return sum / 0.992;
}

/** Return similarities based on the known words, and the probabilities at CLIP's scale. */
export function scoresOf(captions: readonly string[]): Scores {
  const similarities = captions.map((caption) => {
    const words = caption.split(" ");
    const known = words.filter((word) => word in PLACES).length;
    return 0.12 + (0.2 * known) / words.length - 0.002 * (caption.length % 7);
  });
  const powers = similarities.map((similarity) => Math.exp(100 * similarity));
  const sum = powers.reduce((a, b) => a + b, 0);
  return { similarities, probabilities: powers.map((power) => power / sum), rule: "softmax" };
}

/** Pair the longest common rows; those in between are paired in order. */
export function alignmentOf(caption: string, foil: string): AlignedRows[] {
  const [a, b] = [tokensOf(caption), tokensOf(foil)].map((all) => all.map(({ text }) => text));
  if (!a || !b) return [];
  const length = (i: number, j: number): number => lengths[i]?.[j] ?? 0;
  const lengths: number[][] = Array.from({ length: a.length + 1 }, () => []);
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      const same = a[i] === b[j] ? 1 + length(i + 1, j + 1) : 0;
      (lengths[i] ?? [])[j] = Math.max(same, length(i + 1, j), length(i, j + 1));
    }
  }
  const pairs: AlignedRows[] = [];
  let [i, j] = [0, 0];
  while (i < a.length || j < b.length) {
    let [nextI, nextJ] = [i, j];
    while (nextI < a.length && nextJ < b.length && a[nextI] !== b[nextJ]) {
      if (length(nextI + 1, nextJ) >= length(nextI, nextJ + 1)) nextI++;
      else nextJ++;
    }
    while (i < nextI || j < nextJ) {
      pairs.push([i < nextI ? i++ : null, j < nextJ ? j++ : null]);
    }
    if (i < a.length || j < b.length) {
      pairs.push([i < a.length ? i++ : null, j < b.length ? j++ : null]);
    }
  }
  return pairs;
}

export class MockKernel extends MockModel {
  /** Patches reported as outliers. */
  outliers: number[] = [];
  /** Milliseconds from one step to the next. */
  pace = 250;
  /** Whether it answers at all. */
  alive = true;
  #id = 1;
  #timers: ReturnType<typeof setTimeout>[] = [];
  #uploaded: Uint8Array | null = null;
  #tests = 0;

  override send(content: ToKernel, callbacks?: unknown, buffers: ArrayBuffer[] = []): void {
    super.send(content, callbacks, buffers);
    setTimeout(() => {
      if (this.alive) this.#answer(content, buffers);
    }, 20);
  }

  #answer(content: ToKernel, buffers: ArrayBuffer[]): void {
    switch (content.kind) {
      case "join":
        this.receive({ kind: "alive" });
        break;
      case "change":
        this.#change(content.question, content.changes);
        break;
      case "upload":
        this.#take(content, buffers[0] ?? new ArrayBuffer(0));
        break;
      case "test": {
        const { question, tokens, region } = content;
        setTimeout(() => this.#test(question, tokens, region), 4 * this.pace);
        break;
      }
      case "clear_tests":
        this.set("_tests", []);
        break;
      case "cancel":
        for (const timer of this.#timers) clearTimeout(timer);
        this.request(content.id, "cancelled");
        break;
    }
  }

  #change(question: number, changes: Changes): void {
    const words = tokensOf(changes.caption ?? changes.foil ?? "").length - 2;
    const message =
      words > WORDS_MOST
        ? `The caption has ${words} tokens, and this model reads at most ${WORDS_MOST}. Shorten it by ${words - WORDS_MOST} tokens or more.`
        : changes.caption?.trim() === ""
          ? "The caption is empty. Write at least one word."
          : changes.image_layer === 3
            ? "Layer 'visual.transformer.resblocks.3' is run 2 times in one pass; expected once."
            : null;
    if (message) {
      this.receive({ kind: "refused", question, message });
      return;
    }
    this.compute(changes);
    this.receive({ kind: "accepted", question });
  }

  #take(part: Extract<ToKernel, { kind: "upload" }>, data: ArrayBuffer): void {
    const { question, offset, bytes, name } = part;
    if (offset === 0) this.#uploaded = new Uint8Array(bytes);
    this.#uploaded?.set(new Uint8Array(data), offset);
    if (offset + data.byteLength < bytes || !this.#uploaded) return;
    const start = new TextDecoder("latin1").decode(this.#uploaded.subarray(0, 4));
    if (start === "\x89PNG") {
      this.compute({ _image: new DataView(this.#uploaded.buffer as ArrayBuffer) });
      this.receive({ kind: "accepted", question });
    } else {
      const message = `${name} is not an image that can be read: expected PNG, JPEG, WebP or GIF.`;
      this.receive({ kind: "refused", question, message });
    }
  }

  #test(question: number, tokens: number[], region: number[]): void {
    const caption = this.get("_tokens") ?? [];
    const words = tokens.map((row) => caption[row]?.text ?? "").join(" ") || "caption";
    const patches = region.length || ROWS * COLUMNS;
    const id = ++this.#tests;
    const predicted = 0.03 * Math.sin(3 * id) + 0.01 * tokens.length;
    const one: MaskingTest = {
      id,
      tokens,
      region,
      predicted,
      actual: 0.8 * predicted + 0.004 * Math.cos(5 * id),
      label: region.length ? `${words} × ${patches} patches` : words,
    };
    this.set("_tests", [...(this.get("_tests") ?? []), one]);
    this.receive({ kind: "accepted", question });
  }

  /** Apply the changes, and stream a result that gets finer. */
  compute(changes: Partial<Traits>): void {
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers = [];
    const id = ++this.#id;
    const now = { caption: "", foil: null, image_layer: 7 as Layer, ...this.traits(), ...changes };
    const { caption, foil, image_layer, captions = [] } = now;
    const main = matrixOf(caption, image_layer, 0);
    const other = foil === null ? null : matrixOf(foil, image_layer, 3);
    this.begin(id, {
      ...changes,
      _tokens: tokensOf(caption),
      _foil_tokens: foil === null ? [] : tokensOf(foil),
      _alignment: foil === null ? [] : alignmentOf(caption, foil),
      _tests: [],
      _revision: 0,
    });
    for (let frame = 0; frame < FRAMES; frame++) {
      const step = () => {
        const place = { kind: "estimate", id, frame, offset: 0 };
        this.receive({ ...place, part: "caption", bytes: main.byteLength }, main);
        if (other) this.receive({ ...place, part: "foil", bytes: other.byteLength }, other);
        this.receive({ kind: "progress", id, done: frame + 1, total: FRAMES });
        if (frame < FRAMES - 1) return;
        // No other method adds up to the similarity.
        const complete = (this.get("method") ?? "exclip") === "exclip";
        const [total, foilTotal] = [totalOf(main), other && totalOf(other)];
        this.finish(id, {
          _result: main,
          _foil_result: other ?? EMPTY,
          _scores: captions.length > 0 ? scoresOf(captions) : null,
          _summary: {
            similarity: total + 0.0037,
            residual: complete ? 0.008 : null,
            total: complete ? total : null,
            error: null,
            foil_similarity: foilTotal && foilTotal + 0.0037,
            foil_total: complete ? foilTotal : null,
            outliers: this.outliers,
          },
        });
      };
      this.#timers.push(setTimeout(step, this.pace * (frame + 1)));
    }
  }
}
