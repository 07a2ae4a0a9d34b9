import { computed, type ReadonlySignal, signal } from "@preact/signals-core";
import type { Scope } from "./scope.ts";

/** Follow which part of `container` that matches `selector` is pointed at or, failing that, has the focus. */
export function attended(
  container: HTMLElement,
  selector: string,
  scope: Scope,
): ReadonlySignal<HTMLElement | null> {
  const [pointed, focused] = (
    [
      ["pointerover", "pointerleave"],
      ["focusin", "focusout"],
    ] as const
  ).map(([enter, leave]) => {
    const part = signal<HTMLElement | null>(null);
    scope.on(container, enter, ({ target }) => {
      part.value = (target as Element).closest<HTMLElement>(selector);
    });
    scope.on(container, leave, () => {
      part.value = null;
    });
    return part;
  });
  return computed(() => pointed?.value ?? focused?.value ?? null);
}
