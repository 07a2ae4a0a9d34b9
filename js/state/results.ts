/** The interactions shown: the newest ones of caption and foil that fit the inputs. */
import { type ReadonlySignal, type Signal, signal } from "@preact/signals-core";
import type { Interactions } from "../algebra/interactions.ts";
import type { TextName } from "../protocol.ts";
import { decode, type Outcome, type Shape } from "./frames.ts";
import { INPUTS, type SyncedTraits } from "./traits.ts";

const NAMES = ["caption", "foil"] as const;
const TRAITS = {
  caption: ["_result", "_tokens"],
  foil: ["_foil_result", "_foil_tokens"],
} as const;

export interface Results {
  readonly shown: Readonly<Record<TextName, ReadonlySignal<Interactions | null>>>;
  /** Whether what is shown belongs to an earlier request, because the newest has nothing to show yet. */
  readonly stale: ReadonlySignal<boolean>;
  /** What was wrong with the newest estimate or result. */
  readonly problem: ReadonlySignal<string | null>;
  /** Return the shape that a text's result must have, given the inputs. */
  shapeOf(name: TextName): Shape;
  /** Show an estimate, or report what is wrong with it. */
  show(name: TextName, outcome: Outcome): void;
  /** Mark what is shown as belonging to an earlier request. */
  expire(): void;
}

export function createResults(traits: SyncedTraits): Results {
  const shown: Record<TextName, Signal<Interactions | null>> = {
    caption: signal(null),
    foil: signal(null),
  };
  const stale = signal(false);
  const problem = signal<string | null>(null);
  /** Whether a result does not fit the inputs yet: a host may announce the inputs later. */
  const pending = { caption: false, foil: false };

  function shapeOf(name: TextName): Shape {
    const now = traits.now();
    const { rows = 0, columns = 0 } = now._grid ?? {};
    return [now[TRAITS[name][1]]?.length ?? 0, rows, columns];
  }

  function show(name: TextName, { frame, problem: wrong }: Outcome): void {
    if (frame) {
      shown[name].value = frame;
      stale.value = false;
    }
    if (frame || wrong) problem.value = wrong ?? null;
  }

  traits.onChange(({ now, changed }) => {
    for (const name of NAMES) {
      const [result] = TRAITS[name];
      const renewed = changed(...INPUTS[name]);
      const arrived = changed(result);
      if (renewed) shown[name].value = null;
      if (arrived) pending[name] = true;
      if (!pending[name] || !(renewed || arrived)) continue;
      const bytes = now[result];
      if (bytes?.byteLength) {
        const { frame, problem: wrong } = decode(bytes, shapeOf(name));
        pending[name] = !frame;
        const words = wrong && `The saved result has ${wrong}. Run the cell again.`;
        show(name, { frame, problem: words });
      } else {
        pending[name] = false;
        if (name === "caption") stale.value = shown.caption.peek() !== null;
      }
    }
  });

  return {
    shown,
    stale,
    problem,
    shapeOf,
    show,
    expire() {
      stale.value = shown.caption.peek() !== null;
      problem.value = null;
    },
  };
}
