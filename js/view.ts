/** One view of a widget: the parts in their places, and what they share. */
import { computed, effect } from "@preact/signals-core";
import { element } from "./dom.ts";
import { legend } from "./legend.ts";
import { createLens } from "./lens.ts";
import { picture } from "./picture.ts";
import { progress } from "./progress.ts";
import { readout } from "./readout.ts";
import type { WidgetState } from "./state.ts";
import { watchTheme } from "./theme.ts";
import { words } from "./words.ts";

/** Long enough that a drag is read out once, when it rests. */
const SPEAK_AFTER_MS = 400;

export function mount(el: HTMLElement, state: WidgetState, lifetime: AbortSignal): void {
  const root = element("div", "exclip", {
    "data-testid": "exclip",
    // JupyterLab would take the keys for its own commands.
    "data-lm-suppress-shortcuts": "true",
  });
  el.append(root);
  lifetime.addEventListener("abort", () => root.remove());

  const lens = createLens(state);
  const theme = watchTheme(root, lifetime);
  const view = picture(state, lens, theme, lifetime);
  const numbers = readout(state, lens, lifetime);
  const { line, status } = progress(state, lifetime);

  const pointedHeat = computed(() => {
    const [patch] = lens.region.preview.value ?? [];
    return patch === undefined ? null : (lens.heat.value?.[patch] ?? null);
  });
  const pointedTint = computed(() => {
    const preview = lens.tokens.preview.value;
    const index = lens.words.value.findIndex((word) => word.tokens === preview);
    return lens.tint.value?.[index] ?? null;
  });
  const heatLegend = legend(
    { testid: "exclip-legend", unit: "cosine similarity per patch" },
    lens.heatScale,
    pointedHeat,
    theme,
    lifetime,
  );
  const tintLegend = legend(
    { testid: "exclip-legend-words", unit: "cosine similarity per word" },
    lens.tintScale,
    pointedTint,
    theme,
    lifetime,
  );
  const live = element("div", "exclip-live", { "aria-live": "polite" });
  root.append(
    line,
    element(
      "div",
      "exclip-body",
      {},
      element("div", "exclip-left", {}, view.node, heatLegend),
      element(
        "div",
        "exclip-right",
        {},
        words(state, lens, theme, lifetime),
        tintLegend,
        numbers.node,
        status,
      ),
    ),
    live,
  );

  let pending: ReturnType<typeof setTimeout> | undefined;
  const speak = (text: string) => {
    clearTimeout(pending);
    pending = setTimeout(() => {
      live.textContent = text;
    }, SPEAK_AFTER_MS);
  };
  const stops = [
    effect(() => {
      root.dataset.phase = state.status.value.phase;
    }),
    effect(() => {
      root.dataset.exclipTheme = theme.value;
    }),
    effect(() => speak(numbers.spoken.value)),
    effect(() => speak(view.spoken.value)),
  ];
  lifetime.addEventListener("abort", () => {
    for (const stop of stops) stop();
    clearTimeout(pending);
  });

  root.addEventListener(
    "keydown",
    (event) => {
      if (event.key !== "Escape") return;
      const { selectedTokens, selectedRegion } = state;
      if (selectedTokens.peek().length + selectedRegion.peek().length === 0) return;
      event.preventDefault();
      event.stopPropagation();
      if (selectedTokens.peek().length > 0) state.selectTokens([]);
      if (selectedRegion.peek().length > 0) state.selectRegion([]);
    },
    { signal: lifetime },
  );
}
