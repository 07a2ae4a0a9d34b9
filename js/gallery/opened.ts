/** The full widget on the pair of one tile, in place of the grid. */
import { computed, type ReadonlySignal, signal } from "@preact/signals-core";
import { mount } from "../parts/view.ts";
import type { Traits } from "../protocol.ts";
import { modelOf } from "../state/local-model.ts";
import { createState } from "../state/widget-state.ts";
import { enable, iconButton, textButton } from "../ui/buttons.ts";
import { box, element, write } from "../ui/dom.ts";
import { NO_KERNEL, refusal } from "../ui/message.ts";
import { createScope, type Scope } from "../ui/scope.ts";
import type { GalleryState } from "./state.ts";

const PREVIOUS = "M10 3L5 8l5 5";
const NEXT = "M6 3l5 5-5 5";

export interface Opened {
  node: HTMLElement;
  /** The tile whose pair is open; null if none is. */
  readonly tile: ReadonlySignal<number | null>;
  open(tile: number): void;
}

export function openedPair(
  state: GalleryState,
  back: (tile: number) => void,
  scope: Scope,
): Opened {
  const tile = signal<number | null>(null);
  const failed = refusal("open");
  const waiting = box("exclip-waiting", "Opening…");
  const place = element("span", "exclip-name-of", { "aria-live": "polite" });
  const body = box("exclip-opened-body");
  let inner = createScope();
  let traits: Partial<Traits> | null = null;
  let asked = 0;

  async function open(index: number): Promise<void> {
    asked += 1;
    const mine = asked;
    tile.value = index;
    failed.show(null);
    waiting.hidden = false;
    try {
      const found = await state.open(index);
      if (mine === asked) show(found);
    } catch (error) {
      if (mine === asked) clear(error instanceof Error ? error.message : String(error));
    }
  }

  function clear(reason: string | null): void {
    inner.end();
    traits = null;
    waiting.hidden = true;
    failed.show(reason);
  }

  function show(found: Partial<Traits>): void {
    clear(null);
    traits = found;
    inner = createScope();
    const pair = createState(modelOf(found));
    inner.onEnd(pair.dispose);
    mount(body, pair, inner);
  }

  function close(): void {
    const index = tile.peek();
    asked += 1;
    clear(null);
    tile.value = null;
    if (index !== null) back(index);
  }

  const backButton = textButton("Back to all images", "exclip-back", scope, close);
  backButton.classList.add("exclip-button");
  const step = (by: number) => () => {
    const index = tile.peek();
    if (index !== null) open(index + by);
  };
  const previous = iconButton("Previous image", PREVIOUS, scope, step(-1));
  const next = iconButton("Next image", NEXT, scope, step(1));
  const find = textButton("Find in all images", "exclip-find-all", scope, () => {
    const phrase = traits?.caption;
    if (!phrase) return;
    const words = [...(traits?.tokens ?? [])];
    close();
    state.ask({ phrase, words });
  });
  find.classList.add("exclip-button");
  scope.effect(() => {
    const index = tile.value;
    const { answering, count } = state;
    write(place, index === null ? "" : `${index + 1} of ${count.value.toLocaleString("en")}`);
    const may = answering.value && index !== null;
    enable(previous.node, may && index > 0, "Previous image");
    enable(next.node, may && index < count.value - 1, "Next image");
    enable(
      find,
      answering.value,
      answering.value ? "Search all images for the selection, or for the whole caption" : NO_KERNEL,
    );
  });
  // The open pair belongs to an order that is no longer shown.
  const shown = computed(() => state.request.value.shown);
  let before = shown.peek();
  scope.effect(() => {
    if (shown.value !== before && tile.peek() !== null) close();
    before = shown.value;
  });
  scope.onEnd(() => {
    asked += 1; // a pair that is on its way has no place any more
    inner.end();
  });

  const node = box(
    "exclip-opened",
    box(
      "exclip-opened-bar",
      backButton,
      box("exclip-group", previous.node, next.node),
      place,
      find,
    ),
    failed.node,
    waiting,
    body,
  );
  scope.effect(() => {
    find.hidden = !state.orders.value.includes("match");
  });
  scope.effect(() => {
    node.hidden = tile.value === null;
  });
  return {
    node,
    tile,
    open(index) {
      open(index);
      backButton.focus();
    },
  };
}
