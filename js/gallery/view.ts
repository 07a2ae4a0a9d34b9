/** One view of a gallery: what is asked, its status, and the tiles or an opened pair. */
import { computed, signal } from "@preact/signals-core";
import { appearance } from "../parts/appearance.ts";
import { ignoreDisabled, switchOf } from "../ui/buttons.ts";
import { box, element, give, write } from "../ui/dom.ts";
import { showHints } from "../ui/hints.ts";
import { keepKeys } from "../ui/host-keys.ts";
import { icons } from "../ui/icons.ts";
import { message } from "../ui/message.ts";
import type { Scope } from "../ui/scope.ts";
import { colormap, css, gradient, heatColor, type Ink } from "../view/colormap.ts";
import { plain, signed } from "../view/number-format.ts";
import { createSettings } from "../view/settings.ts";
import { watchTheme } from "../view/theme.ts";
import { askBar } from "./ask-bar.ts";
import { tileGrid } from "./grid.ts";
import { openedPair } from "./opened.ts";
import type { GalleryState } from "./state.ts";
import type { Look } from "./tile.ts";

const STOPS = 32;
const OFFLINE =
  "The kernel is not responding. It may be busy. If it was restarted, run the cell again.";

export function mountGallery(el: HTMLElement, state: GalleryState, scope: Scope): void {
  const root = element("div", "exclip exclip-gallery", { "data-testid": "exclip-gallery" });
  el.append(root);
  scope.onEnd(() => root.remove());
  const theme = watchTheme(root, scope);
  const settings = createSettings();
  const ink = computed<Ink>(() => ({
    theme: theme.value,
    map: colormap(settings.palette.value, theme.value),
    sign: settings.sign.value,
    strength: settings.strength.value,
  }));
  const look = computed<Look>(() => ({
    ink: ink.value,
    smooth: settings.smooth.value,
    end: state.end.value,
    order: state.order.value,
  }));

  const opened = openedPair(state, (tile) => grid.focus(tile), scope);
  const grid = tileGrid(state, look, (tile) => opened.open(tile), scope);
  const showsPanel = signal(false);
  const panel = appearance({ ink }, settings, scope);
  const panelButton = switchOf("Appearance", icons.settings, showsPanel, "aria-expanded", scope);
  const status = element("span", "exclip-gallery-status", {
    role: "status",
    "data-testid": "exclip-gallery-status",
  });
  const bar = element("div", "exclip-progress-bar", {});
  const line = box("exclip-progress", bar);
  const trouble = message("exclip-error", "alert", "exclip-gallery-error");
  const all = box(
    "exclip-gallery-body",
    askBar(state, scope),
    box(
      "exclip-gallery-head",
      status,
      box("exclip-gallery-tools", scaleOf(state, ink, scope), panelButton),
    ),
    panel,
    grid.node,
  );
  root.append(line, trouble.node, all, opened.node);

  scope.effect(() => {
    all.hidden = opened.tile.value !== null;
  });
  scope.effect(() => {
    panel.hidden = !showsPanel.value;
  });
  scope.effect(() => {
    const { phase, message } = state.request.value;
    root.dataset.phase = phase;
    root.dataset.exclipTheme = theme.value;
    root.classList.toggle("exclip-stale", phase === "computing");
    trouble.show(phase === "error" ? message : state.answering.value ? null : OFFLINE);
    write(status, statusOf(state));
  });
  scope.effect(() => {
    const part = state.progress.value;
    line.hidden = part === null;
    bar.style.transform = `scaleX(${part ?? 0})`;
  });
  keepKeys(root, scope);
  ignoreDisabled(root, scope);
  showHints(root, scope);
}

function statusOf(state: GalleryState): string {
  const { phase, message } = state.request.value;
  const count = state.count.value.toLocaleString("en");
  const unit = ["match", "set"].includes(state.order.value) ? "image" : "pair";
  if (phase === "computing") {
    const part = state.progress.value ?? 0;
    return part > 0
      ? `Looking at all images: ${Math.round(100 * part)} %`
      : "Looking at all images…";
  }
  if (phase === "done" && message) return message;
  return `${count} ${unit}${state.count.value === 1 ? "" : "s"}`;
}

/** Return the scale of heat that all tiles share, or a note that each has its own. */
function scaleOf(state: GalleryState, ink: { readonly value: Ink }, scope: Scope): HTMLElement {
  const bar = element("div", "exclip-gradient", { role: "img" });
  const [low, high] = [element("span", ""), element("span", "")];
  const node = box("exclip-gallery-scale", low, bar, high);
  scope.effect(() => {
    bar.style.backgroundImage = gradient(STOPS, (x) => css(...heatColor(ink.value, x)));
  });
  scope.effect(() => {
    const end = state.end.value;
    write(low, end === null ? "−" : signed(-end));
    write(high, end === null ? "+" : signed(end));
    const name =
      end === null
        ? "Each tile has its own scale, from its strongest patch"
        : `One scale for all tiles, from −${plain(end)} to ${plain(end)}: cosine similarity per patch`;
    give(bar, { "aria-label": name, "data-hint": name });
    node.hidden = state.count.value === 0;
  });
  return node;
}
