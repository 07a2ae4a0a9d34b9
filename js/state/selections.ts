/** What is selected: shared with the kernel, so that Python can read and set it. */
import { batch, type ReadonlySignal, signal } from "@preact/signals-core";
import { type Selection, same } from "../algebra/selection.ts";
import type { Model } from "../protocol.ts";
import { INPUTS, type SyncedTraits } from "./traits.ts";

export interface Selections {
  /** Selected rows of the caption. */
  readonly tokens: ReadonlySignal<Selection>;
  /** Selected rows of the foil that have no counterpart: the traits have no place for them. */
  readonly foilOnly: ReadonlySignal<Selection>;
  readonly region: ReadonlySignal<Selection>;
  selectTokens(tokens: Selection, foilOnly: Selection): void;
  selectRegion(patches: Selection): void;
}

export function createSelections(model: Model, traits: SyncedTraits): Selections {
  const tokens = signal<Selection>([]);
  const foilOnly = signal<Selection>([]);
  const region = signal<Selection>([]);

  traits.onChange(({ now, changed }) => {
    const next = now.tokens ?? [];
    if (!same(tokens.peek(), next)) {
      tokens.value = next;
      foilOnly.value = [];
    }
    if (changed(...INPUTS.caption, ...INPUTS.foil)) foilOnly.value = [];
    if (!same(region.peek(), now.region ?? [])) region.value = now.region ?? [];
  });

  function save(name: "tokens" | "region", selection: Selection): void {
    model.set(name, [...selection]);
    model.save_changes();
  }

  return {
    tokens,
    foilOnly,
    region,
    selectTokens(selection, alone) {
      batch(() => {
        foilOnly.value = alone;
        tokens.value = selection;
        save("tokens", selection);
      });
    },
    selectRegion(patches) {
      region.value = patches;
      save("region", patches);
    },
  };
}
