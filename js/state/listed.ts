/** The ranked captions, with the scores that the kernel has computed for them. */
import { batch, type ReadonlySignal, signal } from "@preact/signals-core";
import type { Model, Scores } from "../protocol.ts";

export interface Listed {
  /** In the order given; empty without a list. */
  readonly captions: ReadonlySignal<readonly string[]>;
  /** Scores of the captions, in the same order; null while they are being computed. */
  readonly scores: ReadonlySignal<Scores | null>;
}

/** The lifetime of a view: calls `cleanup` when the view ends. */
interface Lifetime {
  onEnd(cleanup: () => void): void;
}

export function createListed(model: Model, scope: Lifetime): Listed {
  const captions = signal<readonly string[]>([]);
  const scores = signal<Scores | null>(null);

  /** Hosts announce the traits of one update one by one, so scores that do not fit yet are not shown. */
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
