/** The selections, shared with the kernel so that Python can read and set them. */
import { batch, type ReadonlySignal, signal } from "@preact/signals-core";
import { type Selection, same } from "../algebra/selection.ts";
import type { Model, Traits } from "../protocol.ts";
import type { Liveness } from "./liveness.ts";
import { alike, type Cover, INPUTS, type SyncedTraits } from "./traits.ts";

export interface Selections {
  /** Selected rows of the caption. */
  readonly tokens: ReadonlySignal<Selection>;
  /** Selected rows of the foil that have no counterpart: the traits have no place for them. */
  readonly foilOnly: ReadonlySignal<Selection>;
  readonly region: ReadonlySignal<Selection>;
  selectTokens(tokens: Selection, foilOnly: Selection): void;
  selectRegion(patches: Selection): void;
  /**
   * What was selected while the kernel's whole state, which is older, was on its way. It is forgotten if
   * that state has another caption or grid, where it would mean something else.
   */
  cover: Cover;
  /** Send it again once that state has arrived; call this with its answer. */
  settle(): void;
}

export function createSelections(
  model: Model,
  traits: SyncedTraits,
  { isCatchingUp }: Pick<Liveness, "isCatchingUp">,
): Selections {
  let newer: Partial<Record<"tokens" | "region", number[]>> = {};
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

  function save(name: keyof typeof newer, selection: Selection): void {
    if (isCatchingUp() || newer[name]) newer = { ...newer, [name]: [...selection] };
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
    cover(given) {
      const before = traits.now();
      const differs = (name: keyof Traits) => !alike(given[name], before[name]);
      if (newer.tokens && (differs("caption") || differs("_tokens"))) delete newer.tokens;
      if (newer.region && differs("_grid")) delete newer.region;
      return newer;
    },
    settle() {
      // In JupyterLab, the answer arrives before the state, but in the same task.
      setTimeout(() => {
        const { tokens, region } = newer;
        newer = {};
        if (tokens) save("tokens", tokens);
        if (region) save("region", region);
      });
    },
  };
}
