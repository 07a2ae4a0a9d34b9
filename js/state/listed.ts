/** The captions that are ranked, with what the kernel has computed of each. */
import { batch, type ReadonlySignal, signal } from "@preact/signals-core";
import type { Model, Scores } from "../protocol.ts";

export interface Listed {
  /** In the order in which they were given; empty without a list. */
  readonly captions: ReadonlySignal<readonly string[]>;
  /** Of the captions, in the same order; null while they are computed. */
  readonly scores: ReadonlySignal<Scores | null>;
}

/** What outlives a view of the model: it is told when the view ends. */
interface Lifetime {
  onEnd(cleanup: () => void): void;
}

export function createListed(model: Model, scope: Lifetime): Listed {
  const captions = signal<readonly string[]>([]);
  const scores = signal<Scores | null>(null);

  /** Hosts announce the traits of one update one by one: what does not fit yet is not shown. */
  function read(): void {
    const texts = model.get("captions") ?? [];
    const found = model.get("_scores") ?? null;
    batch(() => {
      captions.value = texts;
      scores.value = found?.similarities.length === texts.length ? found : null;
    });
  }

  const names = ["captions", "_scores"] as const;
  read();
  for (const name of names) model.on(`change:${name}`, read);
  scope.onEnd(() => {
    for (const name of names) model.off(`change:${name}`, read);
  });
  return { captions, scores };
}
