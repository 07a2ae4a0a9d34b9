/** One view of a widget: the parts in their places, and what they share. */
import { effect } from "@preact/signals-core";
import type { WidgetState } from "../state/widget-state.ts";
import { claim, element, give, listenerOf, until } from "../ui/dom.ts";
import { createSettings } from "../view/settings.ts";
import { watchTheme } from "../view/theme.ts";
import { createLens } from "../view/view-state.ts";
import { lines } from "./caption-lines.ts";
import { picture } from "./image.ts";
import { pictureSource } from "./image-upload.ts";
import { legend } from "./legend.ts";
import { trials } from "./masking-tests.ts";
import { controls } from "./model-controls.ts";
import { progress } from "./progress.ts";
import { receipt } from "./receipt.ts";
import { pairList } from "./strongest-pairs.ts";
import { tables } from "./tables.ts";
import { captionTools, pictureTools } from "./toolbars.ts";
import { words } from "./words.ts";

/** Long enough that a drag is read out once, when it rests. */
const SPEAK_AFTER_MS = 400;

/** Without it JupyterLab takes keys for its own commands: X cuts the cell, arrows never reach a slider. */
const KEEPS_KEYS = "data-lm-suppress-shortcuts";

export function mount(el: HTMLElement, state: WidgetState, lifetime: AbortSignal): void {
  const root = element("div", "exclip", {
    "data-testid": "exclip",
    [KEEPS_KEYS]: "true",
  });
  el.append(root);
  until(lifetime, () => root.remove());

  const theme = watchTheme(root, lifetime);
  const settings = createSettings();
  const lens = createLens(state, settings, theme);
  const view = picture(state, lens, settings, lifetime);
  const numbers = receipt(state, lens, lifetime);
  const table = tables(state, lens, lifetime);
  const { line, status } = progress(state, lifetime);
  const source = pictureSource(root, state, lifetime);
  view.node.append(source.over);

  const heatLegend = legend("exclip-legend", "patch", lens.heatScale, lens.ink, lifetime);
  const tintLegend = legend("exclip-legend-words", "word", lens.tintScale, lens.ink, lifetime);
  const live = element("div", "exclip-live", { "aria-live": "polite" });
  root.append(
    line,
    element(
      "div",
      "exclip-body",
      {},
      element(
        "div",
        "exclip-left",
        {},
        view.node,
        pictureTools(lens, settings, lifetime),
        heatLegend,
        source.node,
      ),
      element(
        "div",
        "exclip-right",
        {},
        lines(state, lens, words(state, lens, settings, lifetime), lifetime),
        element(
          "div",
          "exclip-beneath",
          {},
          tintLegend,
          captionTools(lens, settings, lifetime, table.button),
        ),
        numbers.node,
        pairList(state, lens, lifetime),
        trials(state, lifetime),
        status,
      ),
    ),
    controls(state, lifetime),
    table.node,
    live,
  );

  let pending: ReturnType<typeof setTimeout> | undefined;
  const speak = (text: string) => {
    clearTimeout(pending);
    pending = setTimeout(() => {
      live.textContent = text;
    }, SPEAK_AFTER_MS);
  };
  until(
    lifetime,
    () => clearTimeout(pending),
    effect(() => {
      root.dataset.phase = state.status.value.phase;
      root.classList.toggle("exclip-stale", state.stale.value);
      root.dataset.exclipTheme = theme.value;
    }),
    effect(() => speak(numbers.spoken.value)),
    effect(() => speak(view.spoken.value)),
  );

  root.addEventListener(
    "click",
    (event) => {
      if ((event.target as Element).closest('[aria-disabled="true"]')) event.stopPropagation();
    },
    { capture: true, signal: lifetime },
  );
  const on = listenerOf(root, lifetime);
  // Its commands are for whatever has the focus, and that is asked before what is around it.
  on("focusin", ({ target }) => give(target as Element, { [KEEPS_KEYS]: true }));
  on("keydown", ({ target, key, ctrlKey, metaKey }) => {
    if (key !== "s" || !(ctrlKey || metaKey)) return;
    // Saving is the notebook's: else the browser would save the page.
    const keepers = [root, target as Element];
    for (const node of keepers) node.removeAttribute(KEEPS_KEYS);
    setTimeout(() => {
      for (const node of keepers) give(node, { [KEEPS_KEYS]: true });
    });
  });
  on("keydown", (event) => {
    if (event.key !== "Escape") return;
    const { selectedTokens, selectedRegion } = state;
    if (selectedTokens.peek().length + selectedRegion.peek().length === 0) return;
    claim(event);
    if (selectedTokens.peek().length > 0) state.selectTokens([]);
    if (selectedRegion.peek().length > 0) state.selectRegion([]);
  });
}
