/** Damaged saved states: whatever a notebook contains, the widget shows something or a message. */
import { expect, it } from "vitest";
import states from "../../tests/protocol/state.json";
import listed from "../captions.ts";
import exclip from "../main.ts";
import type { Traits } from "../protocol.ts";
import { painted, stateOf, View } from "../testing/harness.ts";
import { MockModel } from "../testing/mock.ts";

const SEEDS = 8;
/** States for each seed. */
const CASES = 40;

type State = Record<string, unknown>;

/** Return a generator of numbers in [0, 1) that depend only on the seed (mulberry32). */
function chanceOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const zeros = (bytes: number) => new DataView(new ArrayBuffer(bytes));

const WRONG: readonly unknown[] = [
  ...[null, true, 0, -1, 1.5, Number.POSITIVE_INFINITY, "", "word", "constructor"],
  ...[[], [null], [[1, 2], "word"], {}, { length: 3 }, zeros(0), zeros(5)],
];
const HUGE: readonly unknown[] = [
  ...[1e9, 2 ** 53, 1e308, -1e308],
  ...["word ".repeat(5000), Array(5000).fill(0), zeros(1e6)],
];

/** Return something of the same kind that ends early. */
function truncated(value: unknown, chance: () => number): unknown {
  const short = (length: number) => Math.floor(chance() * length);
  if (typeof value === "string" || Array.isArray(value)) return value.slice(0, short(value.length));
  if (value instanceof DataView) {
    return new DataView(value.buffer, value.byteOffset, short(value.byteLength));
  }
  if (typeof value !== "object" || value === null) return undefined;
  const entries = Object.entries(value);
  return Object.fromEntries(entries.slice(0, short(entries.length)));
}

/** Damage one place of a state, and return which and how. */
function damage(state: State, chance: () => number): string {
  const pick = <Kind>(from: readonly Kind[]) => from[Math.floor(chance() * from.length)] as Kind;
  const path = [pick(Object.keys(state))];
  let holder = state;
  let at = path[0] as string;
  while (chance() < 0.6) {
    const inner = holder[at];
    const keys = ArrayBuffer.isView(inner) ? [] : Object.keys(Object(inner));
    if (typeof inner !== "object" || keys.length === 0) break;
    holder = inner as State;
    at = pick(keys);
    path.push(at);
  }
  const how = pick(["missing", "wrong", "truncated", "swapped", "huge"]);
  if (how === "missing") delete holder[at];
  if (how === "wrong") holder[at] = pick(WRONG);
  if (how === "truncated") holder[at] = truncated(holder[at], chance);
  if (how === "swapped") holder[at] = pick(Object.values(pick(EXAMPLES)));
  if (how === "huge") holder[at] = pick(HUGE);
  return `${path.join(".")} ${how}`;
}

const EXAMPLES = states.valid.map(({ state }) => stateOf(state) as State);

/** Return whether the user sees the image or words, or reads why not. */
function isShown({ root, words }: View): boolean {
  const said = [root, ...root.querySelectorAll<HTMLElement>("[role=alert], [role=status]")];
  const says = said.some((node) => !node.hidden && node.role && node.textContent);
  return root.querySelector("img[src]") !== null || words.length > 0 || says;
}

it.each(Array.from({ length: SEEDS }, (_, seed) => seed + 1))(
  "open, and show something or a message: seed %i",
  async (seed) => {
    const chance = chanceOf(seed);
    const faults: string[] = [];
    let now = "";
    const thrown = (event: ErrorEvent | PromiseRejectionEvent) => {
      faults.push(`${now}: ${"reason" in event ? event.reason : event.message}`);
      event.preventDefault();
    };
    window.addEventListener("error", thrown);
    window.addEventListener("unhandledrejection", thrown);
    for (let i = 0; i < CASES; i++) {
      const state = structuredClone(EXAMPLES[Math.floor(chance() * EXAMPLES.length)]) as State;
      const isListed = (state.captions as string[]).length > 0;
      now = Array.from({ length: 1 + Math.floor(chance() * 3) }, () => damage(state, chance)).join(
        ", ",
      );
      try {
        const model = new MockModel(state as Partial<Traits>);
        const widget = (isListed ? listed : exclip)();
        const stop = widget.initialize({ model });
        const view = new View(widget, model);
        await painted();
        // Use it, as a viewer would.
        view.words.at(-1)?.click();
        view.el.querySelector("canvas")?.click();
        await painted();
        if (!isShown(view)) faults.push(`${now}: nothing is shown, and nothing is said`);
        view.close();
        stop();
      } catch (error) {
        faults.push(`${now}: ${error}`);
      }
    }
    window.removeEventListener("error", thrown);
    window.removeEventListener("unhandledrejection", thrown);
    expect(faults).toEqual([]);
  },
);
