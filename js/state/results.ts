/** The interactions shown: the newest ones of caption and foil that fit the inputs. */
import { computed, type ReadonlySignal, type Signal, signal } from "@preact/signals-core";
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
  /** Whether any of what is shown belongs to an earlier request, because the newest has nothing to show yet. */
  readonly stale: ReadonlySignal<boolean>;
  /** What was wrong with the newest estimates or results; empty if nothing was. */
  readonly problem: ReadonlySignal<string>;
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
  /** Which of them are those of an earlier request: caption and foil arrive one after the other. */
  const old = { caption: signal(false), foil: signal(false) };
  const problems = { caption: signal(""), foil: signal("") };
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
      old[name].value = false;
    }
    if (frame || wrong) problems[name].value = wrong ?? "";
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
        // Nothing else of this request will come.
        if (wrong) shown[name].value = null;
        const words = wrong && `The saved result of the ${name} has ${wrong}. Run the cell again.`;
        show(name, { frame, problem: words });
      } else {
        pending[name] = false;
        old[name].value = true;
        problems[name].value = "";
      }
    }
  });

  return {
    shown,
    stale: computed(() => NAMES.some((name) => old[name].value && shown[name].value)),
    problem: computed(() =>
      NAMES.map((name) => problems[name].value)
        .join(" ")
        .trim(),
    ),
    shapeOf,
    show,
    expire() {
      for (const name of NAMES) {
        old[name].value = true;
        problems[name].value = "";
      }
    },
  };
}
