/** A slider of ticks, one for each layer, which asks while it is moved. */
import { computed, type ReadonlySignal } from "@preact/signals-core";
import { clamp, range } from "../algebra/numbers.ts";
import type { Layer } from "../protocol.ts";
import { box, claim, element, give } from "./dom.ts";
import type { Scope } from "./scope.ts";

export function tickSlider(
  given: {
    label: string;
    testid: string;
    /** Names in order; the output of the last comes after them. */
    names: ReadonlySignal<readonly string[]>;
    value: ReadonlySignal<Layer>;
    answering: ReadonlySignal<boolean>;
    ask(layer: Layer): void;
  },
  scope: Scope,
): HTMLElement {
  const { label, names, value, answering } = given;
  const track = element("div", "exclip-scrubber", {
    "data-testid": given.testid,
    role: "slider",
    "aria-label": label,
    tabindex: "0",
  });
  const name = element("span", "exclip-layer");
  const node = box("exclip-control", element("span", "exclip-name-of", {}, label), track, name);
  const last = computed(() => names.value.length);
  const at = computed(() => (value.value === "output" ? last.value : value.value));

  scope.effect(() => {
    const ticks = range(last.value + 1).map((tick) => {
      const mark = element("span", "exclip-layer-tick");
      mark.style.left = `${(100 * tick) / Math.max(1, last.value)}%`;
      mark.classList.toggle("exclip-at", tick === at.value);
      return mark;
    });
    track.replaceChildren(...ticks);
    const full = names.value[at.value] ?? "output";
    // Names are paths in the model: their end says which one it is.
    name.textContent = full.split(".").slice(-2).join(".");
    name.title = full;
    give(track, {
      "aria-valuemax": last.value,
      "aria-valuenow": at.value,
      "aria-valuetext": full,
    });
  });
  scope.effect(() => {
    give(track, { "aria-disabled": !answering.value });
  });

  function go(tick: number): void {
    const next = clamp(tick, 0, last.peek());
    if (next === at.peek() || !answering.peek()) return;
    given.ask(next === last.peek() ? "output" : next);
  }

  const follow = (event: PointerEvent) => {
    const { left, width } = track.getBoundingClientRect();
    go(Math.round(((event.clientX - left) / width) * last.peek()));
  };
  scope.on(track, "pointerdown", (event) => {
    if (event.button !== 0 || !answering.peek()) return;
    track.setPointerCapture(event.pointerId);
    follow(event);
  });
  scope.on(track, "pointermove", (event) => {
    if (track.hasPointerCapture(event.pointerId)) follow(event);
  });
  scope.on(track, "keydown", (event) => {
    const step = {
      ArrowRight: 1,
      ArrowUp: 1,
      ArrowLeft: -1,
      ArrowDown: -1,
      PageUp: 4,
      PageDown: -4,
      Home: Number.NEGATIVE_INFINITY,
      End: Number.POSITIVE_INFINITY,
    }[event.key];
    if (step === undefined) return;
    claim(event);
    go(at.peek() + step);
  });
  return node;
}
