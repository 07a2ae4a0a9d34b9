/** One view of a widget: the parts in their places, and what they share. */
import type { WidgetState } from "../state/widget-state.ts";
import { ignoreDisabled } from "../ui/buttons.ts";
import { box, element, link } from "../ui/dom.ts";
import { showHints } from "../ui/hints.ts";
import { keepKeys } from "../ui/host-keys.ts";
import type { Scope } from "../ui/scope.ts";
import { createSettings } from "../view/settings.ts";
import { watchTheme } from "../view/theme.ts";
import { createViewState } from "../view/view-state.ts";
import { captionLines } from "./caption-lines.ts";
import { imageView } from "./image.ts";
import { imageUpload } from "./image-upload.ts";
import { clearWithEscape } from "./keys.ts";
import { legend } from "./legend.ts";
import { maskingTests } from "./masking-tests.ts";
import { modelControls } from "./model-controls.ts";
import { progress } from "./progress.ts";
import { receipt } from "./receipt.ts";
import { strongestPairsList } from "./strongest-pairs.ts";
import { tables } from "./tables.ts";
import { captionTools, imageTools } from "./toolbars.ts";
import { words } from "./words.ts";

/** Long enough that a drag is read out once, when it stops. */
const SPEAK_AFTER_MS = 400;

export function mount(el: HTMLElement, state: WidgetState, scope: Scope): void {
  const root = element("div", "exclip", { "data-testid": "exclip" });
  el.append(root);
  scope.onEnd(() => root.remove());

  const theme = watchTheme(root, scope);
  const settings = createSettings();
  const view = createViewState(state, settings, theme);
  const image = imageView(state, view, settings, scope);
  const numbers = receipt(state, view, scope);
  const table = tables(state, view, scope);
  const { line, hint, status } = progress(state, scope);
  link(image.canvas, "aria-describedby", hint);
  const source = imageUpload(root, state, scope);
  image.node.append(source.over);

  const heatLegend = legend("exclip-legend", "patch", view.heatScale, view.ink, scope);
  const tintLegend = legend("exclip-legend-words", "word", view.tintScale, view.ink, scope);
  const live = element("div", "exclip-live", { "aria-live": "polite" });
  root.append(
    line,
    box(
      "exclip-body",
      box(
        "exclip-left",
        image.node,
        imageTools(state, view, settings, scope),
        heatLegend,
        source.node,
      ),
      box(
        "exclip-right",
        captionLines(state, view, words(state, view, settings, scope), scope),
        box("exclip-beneath", tintLegend, captionTools(view, settings, scope, table.button)),
        numbers.node,
        strongestPairsList(state, view, scope),
        maskingTests(state, scope),
        status,
      ),
    ),
    modelControls(state, scope),
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
  scope.onEnd(() => clearTimeout(pending));
  scope.effect(() => {
    root.dataset.phase = state.status.value.phase;
    root.classList.toggle("exclip-stale", state.stale.value);
    root.dataset.exclipTheme = theme.value;
  });
  scope.effect(() => speak(numbers.spoken.value));
  scope.effect(() => speak(image.spoken.value));
  clearWithEscape(root, state, scope);
  keepKeys(root, scope);
  ignoreDisabled(root, scope);
  showHints(root, scope);
}
