/** A slider with a tick for each layer, which asks while it is being moved. */
import { computed, type ReadonlySignal } from "@preact/signals-core";
import { range } from "../algebra/numbers.ts";
import type { Layer } from "../protocol.ts";
import { box, element, give, link } from "./dom.ts";
import type { Scope } from "./scope.ts";

export function tickSlider(
  given: {
    label: string;
    testid: string;
    /** Names of layers in order; the output of the last layer comes after them. */
    names: ReadonlySignal<readonly string[]>;
    value: ReadonlySignal<Layer>;
    answering: ReadonlySignal<boolean>;
    ask(layer: Layer): void;
  },
  scope: Scope,
): HTMLElement {
  const { label, names, value, answering } = given;
  const slider = element("input", "exclip-slider", {
    type: "range",
    "data-testid": given.testid,
    "aria-label": label,
  });
  const ticks = element("datalist", "");
  link(slider, "list", ticks);
  const name = element("span", "exclip-layer");
  const last = computed(() => names.value.length);
  const at = computed(() => (value.value === "output" ? last.value : value.value));

  scope.effect(() => {
    const full = names.value[at.value] ?? "output";
    // Names are paths in the model: their last parts identify the layer.
    name.textContent = full.split(".").slice(-2).join(".");
    name.dataset.hint = full;
    give(slider, {
      max: last.value,
      "aria-valuetext": full,
      "aria-disabled": !answering.value,
    });
    slider.value = String(at.value);
  });
  scope.effect(() => {
    const marks = range(last.value + 1).map((value) => element("option", "", { value }));
    ticks.replaceChildren(...marks);
  });
  scope.on(slider, "input", () => {
    const next = Number(slider.value);
    if (!answering.peek()) slider.value = String(at.peek());
    else if (next !== at.peek()) given.ask(next === last.peek() ? "output" : next);
  });
  return box("exclip-control", element("span", "exclip-name-of", label), slider, ticks, name);
}
