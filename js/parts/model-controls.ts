/** What is computed: the method, and the layers at which the towers are cut. A change asks at once. */
import { computed } from "@preact/signals-core";
import type { Layer } from "../protocol.ts";
import type { WidgetState } from "../state/widget-state.ts";
import { oneOf } from "../ui/buttons.ts";
import { box, element, give, panel } from "../ui/dom.ts";
import { message, NO_KERNEL, refusal } from "../ui/message.ts";
import type { Scope } from "../ui/scope.ts";
import { tickSlider } from "../ui/tick-slider.ts";

const LAYERS = ["image_layer", "text_layer"] as const;

export function modelControls(state: WidgetState, scope: Scope): HTMLElement {
  const { answering, questions, choices } = state;
  /** Return the value asked for, even before the answer, unless it was refused; otherwise the current one. */
  const wanted = <Value>(topic: "method" | "text_layer" | "image_layer", now: Value): Value => {
    const question = questions.open.value[topic];
    return question && question.refused === null ? (question.value as Value) : now;
  };

  const methods = oneOf(
    "Method",
    "exclip-text",
    () => (choices.value?.methods ?? []).map((method) => [method, method] as const),
    () => wanted("method", state.method.value),
    (method) => questions.change({ method }),
    scope,
  );
  const layers = LAYERS.map((topic) =>
    tickSlider(
      {
        label: topic.replace("_", " "),
        testid: `exclip-${topic}`,
        names: computed(() => choices.value?.[`${topic}s`] ?? []),
        value: computed<Layer>(() => wanted(topic, state.layers[topic].value)),
        answering,
        ask: (layer) => state.goTo(topic, layer),
      },
      scope,
    ),
  );
  const offline = message("exclip-offline", "status");
  const refused = refusal("control");
  const node = panel(
    "exclip-controls",
    "group",
    "What is computed",
    box("exclip-control", element("span", "exclip-name-of", "method"), methods),
    ...layers,
    offline.node,
    refused.node,
  );

  scope.effect(() => {
    void choices.value;
    for (const button of methods.children) give(button, { "aria-disabled": !answering.value });
  });
  scope.effect(() => {
    node.hidden = choices.value === null;
    offline.show(
      answering.value
        ? null
        : `${NO_KERNEL}. It may be busy. If it was restarted, run the cell again.`,
    );
    const why = (["method", ...LAYERS] as const).flatMap(
      (topic) => questions.open.value[topic]?.refused ?? [],
    );
    refused.show(why.join(" "));
  });
  return node;
}
