/**
 * Masking tests: the selection is masked, the model runs again, and the actual
 * change of similarity is listed beside the predicted one.
 */
import { computed } from "@preact/signals-core";
import { largest } from "../algebra/interactions.ts";
import type { MaskingTest } from "../protocol.ts";
import type { WidgetState } from "../state/widget-state.ts";
import { attended } from "../ui/attended.ts";
import { enable, rove, textButton } from "../ui/buttons.ts";
import { box, button, drawing, element, give, panel, refill, shape } from "../ui/dom.ts";
import { NO_KERNEL, refusal } from "../ui/message.ts";
import type { Scope } from "../ui/scope.ts";
import { plain, signed } from "../view/number-format.ts";

/** Out of the plot's 50 units to each side, so that dots stay a little inside. */
const REACH = 44;

export function maskingTests(state: WidgetState, scope: Scope): HTMLElement {
  const { questions, tests } = state;
  /** Why nothing can be tested now; null if it can. */
  const obstacle = computed(() => {
    if (!state.answering.value) return NO_KERNEL;
    if (state.selectedTokens.value.length + state.selectedRegion.value.length === 0) {
      return "Select words or patches first";
    }
    if (state.look.value !== "caption") return "Tests mask the caption";
    const settled = state.status.value.phase !== "computing" && !state.stale.value;
    return settled && state.interactions.value ? null : "Wait for the result";
  });

  const test = textButton("", "exclip-test", scope, () =>
    questions.test(state.selectedTokens.peek(), state.selectedRegion.peek()),
  );
  test.classList.add("exclip-button");
  const clear = textButton("Clear", "exclip-untest", scope, () => {
    questions.clearTests();
    test.focus({ preventScroll: true });
  });
  const refused = refusal("test");
  const rows = box("exclip-trials-rows");
  const kept = box("exclip-trials-kept", box(""), rows);
  const node = panel(
    "exclip-trials",
    "group",
    "Tests",
    box("exclip-trials-head", test, clear),
    refused.node,
    kept,
  );

  function again({ tokens, region }: MaskingTest): void {
    state.lookAt("caption");
    state.selectTokens(tokens);
    state.selectRegion(region);
  }

  const refresh = rove(rows, scope);
  const dots = new Map<HTMLElement, Element>();
  const row = attended(rows, ".exclip-trial", scope);
  scope.effect(() => {
    const pointed = row.value;
    for (const [one, dot] of dots) dot.classList.toggle("exclip-pointed-at", one === pointed);
  });
  scope.effect(() => {
    const question = questions.open.value.test;
    const running = question?.refused === null;
    node.hidden = state.choices.value === null && tests.value.length === 0;
    test.textContent = running ? "Testing…" : "Test this selection";
    const why = obstacle.value;
    enable(test, !why && !running, why ?? "Mask it and run the model");
    refused.show(question?.refused);
  });
  scope.effect(() => {
    const all = tests.value;
    kept.hidden = clear.hidden = !all.length;
    const end = largest(all.flatMap((one) => [one.predicted ?? 0, one.actual ?? 0])) || 1;
    const axes = drawing("exclip-plot", "M0 50H100M50 0V100M0 100L100 0", 100, 100);
    give(axes, {
      role: "img",
      "aria-hidden": "false",
      "aria-label": `Actual change (up) against predicted (right), ${all.length} tests, to ±${plain(end)}`,
    });
    dots.clear();
    const lines = all.map((one) => {
      const { predicted, actual } = one;
      const row = rowOf(one);
      row.addEventListener("click", () => again(one));
      if (predicted !== null && actual !== null) {
        const dot = shape("circle", {
          cx: 50 + (REACH * predicted) / end,
          cy: 50 - (REACH * actual) / end,
        });
        axes.append(dot);
        dots.set(row, dot);
      }
      return row;
    });
    const head = element(
      "div",
      "exclip-trial exclip-name-of",
      { "aria-hidden": "true" },
      ...cells("masked", "predicted", "actual"),
    );
    refill(rows, [head, ...lines.reverse()], (row) => row.ariaLabel);
    kept.firstElementChild?.replaceWith(axes);
    refresh();
  });
  return node;
}

function rowOf({ label, predicted, actual }: MaskingTest): HTMLElement {
  const [before, after] = [signed(predicted), signed(actual)];
  // Screen readers skip a dash.
  const numbers = `predicted ${before}, actual ${after}`.replaceAll("–", "unknown");
  return button(
    "exclip-trial",
    { "aria-label": `${label}: ${numbers}. Select it again.` },
    ...cells(label, before, after),
  );
}

const cells = (...texts: string[]) =>
  texts.map((text) => element("span", "", { dir: "auto" }, text));
