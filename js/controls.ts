/** What is computed: the method, and the layers at which the towers are cut. A change asks at once. */
import { computed, effect } from "@preact/signals-core";
import { NO_KERNEL, refusal, saying } from "./asked.ts";
import { element, listenerOf, until } from "./dom.ts";
import type { Layer } from "./protocol.ts";
import { scrubber } from "./scrubber.ts";
import type { WidgetState } from "./state.ts";
import { rove } from "./toolbar.ts";

const LAYERS = [
  ["image_layer", "image_layers", "image layer"],
  ["text_layer", "text_layers", "text layer"],
] as const;

export function controls(state: WidgetState, lifetime: AbortSignal): HTMLElement {
  const { asking, choices } = state;
  const disabled = computed(() => !state.answered.value);
  /** As it was asked for, from the moment it is asked; what was refused is not. */
  const wanted = <Value>(topic: "method" | "text_layer" | "image_layer", now: Value): Value => {
    const question = asking.open.value[topic];
    return question && question.refused === null ? (question.value as Value) : now;
  };

  const methods = element("div", "exclip-group", { role: "group", "aria-label": "Method" });
  const layers = LAYERS.map(([topic, list, label]) =>
    scrubber(
      {
        label,
        testid: `exclip-${topic}`,
        names: computed(() => choices.value?.[list] ?? []),
        value: computed<Layer>(() => wanted(topic, state.layers[topic].value)),
        disabled,
        ask: (layer) => asking.ask({ [topic]: layer }),
      },
      lifetime,
    ),
  );
  const offline = saying("exclip-offline", "status", "exclip-offline");
  const refused = refusal("control");
  const node = element(
    "div",
    "exclip-controls",
    { "data-testid": "exclip-controls", role: "group", "aria-label": "What is computed" },
    element("div", "exclip-control", {}, element("span", "exclip-name-of", {}, "method"), methods),
    ...layers,
    offline.node,
    refused.node,
  );

  const refresh = rove(methods, lifetime);
  until(
    lifetime,
    effect(() => {
      const buttons = (choices.value?.methods ?? []).map((method) => {
        const button = element("button", "exclip-tool exclip-text", { type: "button" }, method);
        button.dataset.method = method;
        return button;
      });
      methods.replaceChildren(...buttons);
      refresh();
    }),
    effect(() => {
      void choices.value;
      const method = wanted("method", state.method.value);
      for (const button of methods.querySelectorAll("button")) {
        button.setAttribute("aria-pressed", String(button.dataset.method === method));
        button.setAttribute("aria-disabled", String(disabled.value));
      }
    }),
    effect(() => {
      node.hidden = choices.value === null;
      offline.say(
        disabled.value
          ? `${NO_KERNEL}, and none answers: it is busy, or gone (then run the cell again).`
          : null,
      );
      const said = ["method", "image_layer", "text_layer"] as const;
      const why = said.flatMap((topic) => asking.open.value[topic]?.refused ?? []);
      refused.say(why.join(" "));
    }),
  );
  listenerOf(methods, lifetime)("click", ({ target }) => {
    const method = (target as HTMLElement).dataset.method;
    if (method && method !== wanted("method", state.method.peek())) {
      asking.ask({ method });
    }
  });
  return node;
}
