/** The synced traits as signals, with reactions to their changes. */
import { batch, computed, type ReadonlySignal, signal } from "@preact/signals-core";
import type { Model, Traits } from "../protocol.ts";
import { bytesOf } from "./frames.ts";

type Name = keyof Traits;

/** The traits that define what is explained. A result belongs to one set of their values. */
const IMAGE = ["_image", "_image_type", "_grid"] as const;
export const INPUTS = {
  caption: ["caption", "_tokens", ...IMAGE],
  foil: ["foil", "_foil_tokens", ...IMAGE],
} as const satisfies Record<string, readonly Name[]>;

const NAMES = [
  ...INPUTS.caption,
  "foil",
  "_foil_tokens",
  "_alignment",
  "method",
  "text_layer",
  "image_layer",
  "_choices",
  "_tests",
  "_summary",
  "_result",
  "_foil_result",
  "_request",
  "_revision",
  "tokens",
  "region",
] as const satisfies readonly Name[];

export interface Change {
  readonly now: Partial<Traits>;
  /** Whether the contents of any of these differ from before. */
  changed(...names: readonly Name[]): boolean;
}

/** Returns the values that cover the model's traits, if any. */
export type Cover = (given: Partial<Traits>) => Partial<Traits> | undefined;

export interface SyncedTraits {
  now(): Partial<Traits>;
  /** Return a trait as a signal that changes only if its contents do; `empty` if the host lacks it. */
  signal<Key extends Name, Empty>(
    name: Key,
    empty: Empty,
  ): ReadonlySignal<NonNullable<Traits[Key]> | Empty>;
  /** Register what to do when the traits change, and when they are first read. */
  onChange(react: (change: Change) => void): void;
  /** Read the model's traits, and what covers them. */
  read(): void;
  /** Read the traits, and follow the model from now on. */
  follow(): void;
  dispose(): void;
}

/** Compare contents: hosts create new objects for values that have not changed. */
export function alike(a: unknown, b: unknown): boolean {
  return a === b || (!ArrayBuffer.isView(a) && JSON.stringify(a) === JSON.stringify(b));
}

/** Compare bytes: for an image that is sent again, no new result would come. */
function sameImage(a: DataView | undefined, b: DataView | undefined): boolean {
  if (a === b || !a || !b) return a === b;
  const [bytes, others] = [bytesOf(a), bytesOf(b)];
  return bytes.length === others.length && bytes.every((byte, i) => byte === others[i]);
}

export function createTraits(model: Model, cover: Cover): SyncedTraits {
  const traits = signal<Partial<Traits>>({});
  const reactions: ((change: Change) => void)[] = [];

  /** Hosts announce the traits of one update one by one, or all at once. */
  function read(): void {
    const before = traits.peek();
    const given: Partial<Traits> = Object.fromEntries(NAMES.map((name) => [name, model.get(name)]));
    const now = { ...given, ...cover(given) };
    const changed = (...names: readonly Name[]) =>
      names.some((name) =>
        name === "_image" ? !sameImage(now._image, before._image) : !alike(now[name], before[name]),
      );
    batch(() => {
      traits.value = now;
      for (const react of reactions) react({ now, changed });
    });
  }

  return {
    now: () => traits.peek(),
    signal<Key extends Name, Empty>(name: Key, empty: Empty) {
      let kept: NonNullable<Traits[Key]> | Empty = empty;
      return computed(() => {
        const now = (traits.value[name] as Traits[Key] | undefined) ?? empty;
        if (!alike(now, kept)) kept = now as NonNullable<Traits[Key]>;
        return kept;
      });
    },
    read,
    onChange: (react) => void reactions.push(react),
    follow() {
      read();
      for (const name of NAMES) model.on(`change:${name}`, read);
    },
    dispose() {
      for (const name of NAMES) model.off(`change:${name}`, read);
    },
  };
}
