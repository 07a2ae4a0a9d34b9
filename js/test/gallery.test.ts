/** The gallery with a kernel that has every tile: what is in the page, what is asked, and which keys work. */
import axe from "axe-core";
import { afterEach, describe, expect, test, vi } from "vitest";
import { userEvent } from "vitest/browser";
import "../gallery.css";
import { layOut, MOST_HEIGHT, scrollTo, seenAt } from "../gallery/layout.ts";
import type { GalleryTraits, ToKernel } from "../gallery/protocol.ts";
import gallery from "../gallery.ts";
import { type Answer, heatOf, MockGallery } from "../testing/gallery-mock.ts";
import { painted, traits as pairTraits } from "../testing/harness.ts";
import { png } from "../testing/mock.ts";

const SIDE = 12;
const COUNT = 10_000;
let picture: DataView;
const answer = (tile: number): Answer => ({
  header: { value: 0.02 - tile / 1e6, caption: `a red boat ${tile}` },
  picture,
  heat: heatOf(tile, SIDE),
});

const ended: (() => void)[] = [];
afterEach(() => {
  for (const end of ended.splice(0)) end();
});

async function open(
  given: Partial<GalleryTraits> = {},
  answers: ((tile: number) => Answer) | null = answer,
  width = 700,
) {
  picture ??= await png(64, 48, (context) => context.fillRect(0, 0, 64, 48));
  const model = new MockGallery({ _count: COUNT, ...given }, answers);
  const el = document.createElement("div");
  el.style.width = `${width}px`;
  document.body.append(el);
  const widget = gallery();
  const stop = widget.initialize({ model });
  const close = widget.render({ model, el });
  ended.push(close, stop);
  await painted();
  const find = (testid: string) => {
    const found = el.querySelector<HTMLElement>(`[data-testid="${testid}"]`);
    if (!found) throw new Error(`no ${testid}`);
    return found;
  };
  const tiles = () => [...el.querySelectorAll<HTMLElement>('[data-testid="exclip-tile"]')];
  const shown = () => tiles().filter((tile) => !tile.classList.contains("exclip-tile-waiting"));
  /** Wait until every tile in the page has arrived. */
  const loaded = () =>
    until(() => {
      expect(tiles().length).toBeGreaterThan(0);
      expect(shown().length).toBe(tiles().length);
    });
  return { model, el, find, tiles, shown, loaded, grid: find("exclip-grid"), close, stop };
}

const of = <Kind extends ToKernel["kind"]>(model: MockGallery, kind: Kind) =>
  model.sent.filter((one): one is Extract<ToKernel, { kind: Kind }> => one.kind === kind);
/** What a screen reader says about a tile. */
const said = (tile: Element | null | undefined) => tile?.textContent?.trim() ?? "";
const until = (check: () => void) => vi.waitFor(check, { timeout: 10_000 });
const button = (el: Element, name: string) => {
  const all = [...el.querySelectorAll("button")];
  const found = all.find((one) => (one.ariaLabel ?? one.textContent) === name);
  if (!found) throw new Error(`no button ${name}`);
  return found;
};

test("only visible tiles are in the page and asked for", async () => {
  const { model, grid, tiles, shown, loaded } = await open();
  await loaded();
  const count = tiles().length;
  expect(count).toBeGreaterThan(8);
  expect(count).toBeLessThan(60);
  const asked = of(model, "window").flatMap((one) => one.tiles);
  expect(Math.max(...asked)).toBeLessThan(count);
  expect(said(tiles()[0])).toBe("1 +0.0200 a red boat 0");

  grid.scrollTop = grid.scrollHeight / 2;
  await painted();
  await loaded();
  const [first] = tiles().map((tile) => Number.parseInt(said(tile), 10));
  expect(first).toBeGreaterThan(COUNT / 2 - 60);
  expect(first).toBeLessThan(COUNT / 2 + 60);
  expect(tiles().length).toBeLessThan(60);

  grid.scrollTop -= 1000;
  await painted();
  await loaded();
  // In reading order.
  const numbers = tiles().map((tile) => Number.parseInt(said(tile), 10));
  expect(numbers).toEqual(numbers.toSorted((a, b) => a - b));

  grid.scrollTop = grid.scrollHeight;
  await until(() => expect(said(shown().at(-1))).toContain(`${COUNT} `));
});

test.each([
  ["a caterpillar, a cat", [17, 20], "a caterpillar, a <b>cat</b>"],
  ["a man sees a man", [0, 5], "<b>a man</b> sees a man"],
  ["😀 a <i>cat</i> 😀 runs", [4, 14], "😀 a <b>&lt;i&gt;cat&lt;/i&gt;</b> 😀 runs"],
  ["far behind all the others, a dog and a cat", [37, 42], "… <b>a cat</b>"],
  ["a cat", null, "a cat"],
])("the words in question are marked where they are: %s", async (caption, span, marked) => {
  const { tiles, loaded } = await open({ _count: 1 }, () => ({ header: { caption, span } }));
  await loaded();
  const shown = tiles()[0]?.querySelector(".exclip-tile-caption")?.innerHTML;
  expect(shown?.replace(' class=""', "")).toBe(marked);
});

test("a word of the last phrase is not asked of the next one", async () => {
  const { model, el, find } = await open();
  model.ranked("a red boat", 2);
  await painted();
  const words = () => [...el.querySelectorAll<HTMLElement>(".exclip-phrase-word")];
  const asks = () => of(model, "ask").map(({ changes }) => changes);
  const answer = (kind: string) =>
    model.receive({ kind, question: of(model, "ask").at(-1)?.question, message: "unknown" });
  const phrase = async (text: string) => {
    await userEvent.fill(find("exclip-phrase"), text);
    await userEvent.keyboard("{Enter}");
    words()[2]?.click();
    words()[2]?.focus();
    await userEvent.keyboard("{Enter}");
    expect(asks().at(-1)).toEqual({ phrase: text });
  };
  await phrase("two cats asleep");
  // The order does not depend on the phrase.
  el.querySelector<HTMLElement>('.exclip-orders [value="special"]')?.click();
  expect(asks().at(-1)).toEqual({ phrase: "two cats asleep", order: "special" });
  answer("refused");
  words()[2]?.click();
  expect(asks().at(-1)).toEqual({ words: [3], order: "match" });
  answer("accepted");

  await phrase("two dogs asleep");
  model.ranked("two dogs asleep", 3);
  answer("accepted");
  words()[2]?.click();
  expect(asks().at(-1)).toEqual({ words: [3], order: "match" });
});

test("heat is painted in the shared colours and on the shared scale", async () => {
  const { tiles, el, loaded } = await open({ _end: 0.02 });
  await loaded();
  const pixels = () => {
    const canvas = tiles()[0]?.querySelector("canvas");
    const data = canvas?.getContext("2d")?.getImageData(0, 0, SIDE, SIDE).data ?? [];
    return [...data];
  };
  const shared = pixels();
  const heat = heatOf(0, SIDE);
  const strongest = heat.indexOf(Math.max(...heat));
  const weakest = heat.findIndex((level) => Math.abs(level) < 4);
  const alpha = (all: number[], patch: number) => all[4 * patch + 3] ?? 0;
  expect(alpha(shared, strongest)).toBeGreaterThan(80);
  if (weakest >= 0) expect(alpha(shared, weakest)).toBeLessThan(20);
  expect(el.textContent).toContain("+0.0200");

  const own = await open({ _end: null });
  await own.loaded();
  const canvas = own.tiles()[0]?.querySelector("canvas");
  const data = canvas?.getContext("2d")?.getImageData(0, 0, SIDE, SIDE).data ?? [];
  expect(data[4 * strongest + 3] ?? 0).toBeGreaterThan(1.5 * alpha(shared, strongest));
});

test("scrolling far asks for where it stops, not for everything on the way", async () => {
  const { model, grid, tiles, loaded } = await open();
  await loaded();
  const before = of(model, "window").length;
  for (let i = 1; i <= 40; i++) {
    grid.scrollTop = i * 4000;
    await new Promise(requestAnimationFrame);
  }
  await loaded();
  const windows = of(model, "window").slice(before);
  expect(windows.length).toBeLessThan(30);
  const passed = new Set(windows.flatMap((one) => one.tiles));
  const seen = new Set(tiles().map((tile) => Number.parseInt(said(tile), 10) - 1));
  expect([...seen].every((tile) => passed.has(tile))).toBe(true);
  for (const { tiles } of windows) expect(tiles.length).toBeLessThan(80);
});

test("a new order starts at the top, with its own tiles", async () => {
  const { model, grid, shown, tiles, loaded } = await open();
  await loaded();
  grid.scrollTop = 5000;
  await until(() => expect(said(tiles()[0])).not.toMatch(/^1 /));
  model.ranked("red boat", 2);
  await until(() => expect(said(shown()[0])).toMatch(/^1 /));
  expect(grid.scrollTop).toBe(0);
  expect(of(model, "window").at(-1)?.request).toBe(2);
  // Tiles still on their way from the previous order are not taken for this one's.
  model.receive({ kind: "tiles", request: 1, tiles: [] });
  expect(shown().length).toBeGreaterThan(0);
});

test("a typed phrase is asked for, and a refusal is shown", async () => {
  const { model, find, el } = await open();
  const field = find("exclip-phrase") as HTMLInputElement;
  await userEvent.fill(field, "a <b>boat</b>");
  await userEvent.keyboard("{Enter}");
  const [asked] = of(model, "ask");
  expect(asked?.changes).toEqual({ phrase: "a <b>boat</b>" });
  model.receive({ kind: "refused", question: asked?.question, message: "phrase <i> is unknown" });
  expect(find("exclip-refused-ask").textContent).toBe("phrase <i> is unknown");
  expect(el.querySelector("i")).toBeNull();
  model.ranked("a <b>boat</b>", 2);
  await painted();
  expect(el.querySelector(".exclip-phrase-words b")).toBeNull();
});

test("a click chooses words of the phrase, or an order by its name", async () => {
  const { model, el } = await open();
  model.ranked("a red boat", 2);
  button(el, "red").click();
  expect(of(model, "ask").at(-1)?.changes).toEqual({ words: [2], order: "match" });
  model.update({ words: [2] });
  expect(button(el, "red").ariaPressed).toBe("true");
  button(el, "boat").click();
  expect(of(model, "ask").at(-1)?.changes).toMatchObject({ words: [2, 3] });
  [...el.querySelectorAll<HTMLButtonElement>(".exclip-orders button")]
    .find((one) => one.value === "foils")
    ?.click();
  expect(of(model, "ask").at(-1)?.changes).toMatchObject({ order: "foils" });
});

test("results without factors offer no phrase", async () => {
  const { el, find } = await open({ _orders: ["set", "special"] });
  const orders = [...el.querySelectorAll<HTMLButtonElement>(".exclip-orders button")];
  expect(orders.map(({ value }) => value)).toEqual(["special", "set"]);
  expect(find("exclip-phrase").checkVisibility()).toBe(false);
});

test("the grid works by keyboard alone", async () => {
  const { model, grid, el, loaded } = await open();
  await loaded();
  const columns = Number(grid.getAttribute("aria-colcount"));
  grid.focus();
  const active = () => el.querySelector(`#${grid.getAttribute("aria-activedescendant")}`);
  await userEvent.keyboard("{ArrowRight}");
  expect(said(active())).toContain("2 +");
  await userEvent.keyboard("{ArrowDown}");
  expect(said(active())).toContain(`${columns + 2} +`);
  await userEvent.keyboard("{End}");
  await until(() => expect(said(active())).toContain(`${COUNT} +`));
  expect(document.activeElement).toBe(grid);
  await userEvent.keyboard("{Home}");
  await until(() => expect(said(active())).toMatch(/^1 \+/));
  await userEvent.keyboard("{Enter}");
  expect(of(model, "open").at(-1)).toMatchObject({ tile: 0, request: 1 });
});

test("a screen reader hears where each tile is, the first one on focus", async () => {
  const { model, grid, el, tiles, loaded } = await open();
  await loaded();
  const active = () => el.querySelector(`#${grid.getAttribute("aria-activedescendant")}`);
  const columns = Number(grid.getAttribute("aria-colcount"));
  const places = tiles().map((tile) => [
    Number(tile.closest("[role=row]")?.getAttribute("aria-rowindex")),
    Number(tile.getAttribute("aria-colindex")),
  ]);
  const expected = tiles().map((_, i) => [Math.floor(i / columns) + 1, (i % columns) + 1]);
  expect(columns).toBeGreaterThan(2);
  expect(places).toEqual(expected);
  grid.focus();
  expect(said(active())).toContain("1 +");
  await userEvent.keyboard("{End}");
  // A new order starts at its first tile again.
  model.ranked("red boat", 2);
  await loaded();
  expect(said(active())).toMatch(/^1 /);
});

test("a click opens the full widget, and *Back* returns to the tile", async () => {
  const { model, grid, tiles, find, el, loaded } = await open();
  await loaded();
  tiles()[5]?.click();
  const asked = of(model, "open").at(-1);
  expect(asked?.tile).toBe(5);
  const { _image, _result, _foil_result, ...plain } = await pairTraits({
    _choices: null,
    _request: { id: 1, phase: "idle", message: "" },
  });
  const bytes = [_image, _result, _foil_result] as DataView[];
  const binary = ["_image", "_result", "_foil_result"];
  model.receive(
    { kind: "opened", question: asked?.question, tile: 5, traits: plain, binary },
    ...bytes,
  );
  await until(() => expect(el.querySelector('[data-testid="exclip"]')).not.toBeNull());
  expect(grid.checkVisibility()).toBe(false);
  expect(el.textContent).toContain("6 of 10,000");
  // Selecting works: the words and what they add are there.
  const words = [...el.querySelectorAll<HTMLElement>(".exclip-opened-body .exclip-word")];
  expect(words.map((word) => word.textContent)).toEqual(["a", "red", "boat"]);
  words[1]?.focus();
  await userEvent.keyboard("{Enter}");
  find("exclip-find-all").click();
  expect(of(model, "ask").at(-1)?.changes).toEqual({ phrase: "a red boat", words: [2] });
  expect(el.querySelector('[data-testid="exclip"]')).toBeNull();

  tiles()[7]?.click();
  const again = of(model, "open").at(-1);
  model.receive({ kind: "refused", question: again?.question, message: "there is no picture '7'" });
  await until(() => expect(el.textContent).toContain("there is no picture '7'"));
  find("exclip-back").click();
  expect(document.activeElement).toBe(grid);
  expect(said(el.querySelector(".exclip-active"))).toContain("8 +");
});

test("a word of the phrase keeps the focus when the phrase changes", async () => {
  const { model, el, loaded } = await open();
  await loaded();
  model.ranked("red boat", 2);
  el.querySelectorAll<HTMLElement>(".exclip-phrase-word")[1]?.focus();
  model.ranked("two yellow fish", 3);
  expect(document.activeElement?.textContent).toBe("yellow");
});

/** Send the pair that was asked for last. */
async function sendPair(model: MockGallery, tile: number): Promise<void> {
  const { _image, _result, _foil_result, ...traits } = await pairTraits({ _choices: null });
  const binary = { _image, _result, _foil_result };
  model.receive(
    {
      kind: "opened",
      question: of(model, "open").at(-1)?.question,
      tile,
      traits,
      binary: Object.keys(binary),
    },
    ...(Object.values(binary) as DataView[]),
  );
}

test("a pair that arrives after its view was closed is not mounted", async () => {
  const { model, tiles, loaded, close } = await open();
  await loaded();
  tiles()[5]?.click();
  close();
  const created = vi.spyOn(document, "createElement");
  await sendPair(model, 5);
  await painted();
  expect(created).not.toHaveBeenCalled();
});

test("saving is left to JupyterLab, from the grid and from an opened pair", async () => {
  const { model, el, grid, shown, loaded } = await open();
  await loaded();
  /** The check that Lumino makes. */
  const taken = (node: HTMLElement) => {
    let isTaken = false;
    const listen = () => {
      isTaken = node.closest("[data-lm-suppress-shortcuts]") === null;
    };
    node.focus();
    document.addEventListener("keydown", listen);
    node.dispatchEvent(new KeyboardEvent("keydown", { key: "s", ctrlKey: true, bubbles: true }));
    document.removeEventListener("keydown", listen);
    return isTaken;
  };
  expect(taken(grid)).toBe(true);
  await new Promise((resolve) => setTimeout(resolve));
  expect(grid.closest("[data-lm-suppress-shortcuts]")).not.toBeNull();
  shown()[0]?.click();
  await sendPair(model, 0);
  await until(() => expect(el.querySelector(".exclip-heat")).not.toBeNull());
  expect(taken(el.querySelector(".exclip-heat") as HTMLElement)).toBe(true);
});

describe("a pair whose message is lost", () => {
  /** Click a tile while the connection is down. */
  async function lost() {
    const { model, tiles, find, el, loaded } = await open();
    await loaded();
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    model.receive({ kind: "alive" });
    vi.spyOn(model, "send").mockImplementation((message) => {
      model.sent.push(message as ToKernel);
    });
    tiles()[5]?.click();
    ended.push(() => vi.useRealTimers());
    /** Let the time for an answer pass; the kernel then turns out to be there. */
    const miss = () => {
      vi.advanceTimersByTime(11_000);
      model.receive({ kind: "alive" });
    };
    return { model, find, el, miss };
  }

  test("is asked for again, and opens", async () => {
    const { model, el, miss } = await lost();
    const [asked] = of(model, "open");
    miss(); // it may be on its way
    expect(of(model, "open")).toEqual([asked]);
    miss();
    expect(of(model, "open")).toEqual([asked, asked]);
    const { _image, _result, _foil_result, ...traits } = await pairTraits({ _choices: null });
    model.receive({ kind: "opened", question: asked?.question, tile: 5, traits, binary: [] });
    vi.useRealTimers();
    await until(() => expect(el.querySelector('[data-testid="exclip"]')).not.toBeNull());
    expect(el.querySelector<HTMLElement>(".exclip-opened > .exclip-waiting")?.hidden).toBe(true);
  });

  test("is waited for until the kernel says that it is lost", async () => {
    const { model, find, miss } = await lost();
    for (let i = 0; i < 8; i++) miss();
    const opens = of(model, "open");
    expect(opens.length).toBe(8);
    expect(find("exclip-refused-open").hidden).toBe(true);
    const message = "The pair was sent, but has not arrived. Open it again.";
    model.receive({ kind: "refused", question: opens[0]?.question, message });
    await vi.waitFor(() => expect(find("exclip-refused-open").textContent).toContain("again"));
    const before = model.sent.length;
    vi.advanceTimersByTime(100_000);
    expect(model.sent.length).toBe(before);
  });

  test("says so if the kernel is gone", async () => {
    const { find } = await lost();
    vi.advanceTimersByTime(11_000);
    expect(find("exclip-gallery-error").checkVisibility()).toBe(true);
    expect(find("exclip-gallery-error").textContent).toContain("not responding");
  });
});

test("a tile without a picture says why", async () => {
  const error = "there is no picture 'a<b>' in 'photos'";
  const { shown, tiles, el } = await open({ _count: 3 }, () => ({ header: { error } }));
  await until(() => expect(shown().length).toBe(3));
  expect(tiles()[0]?.textContent).toContain(error);
  expect(said(tiles()[0])).toContain(error);
  expect(el.querySelector("b")).toBeNull();
});

test("a note on a picture leaves the picture in sight", async () => {
  const error = "Another image, or another copy of it, was explained.";
  const { tiles } = await open({ _count: 1 }, () => ({ header: { error }, picture }));
  await until(() => expect(said(tiles()[0])).toContain(error));
  const part = (name: string) => tiles()[0]?.querySelector(`.exclip-tile-${name}`) as HTMLElement;
  await until(() =>
    expect(part("picture").checkVisibility({ visibilityProperty: true })).toBe(true),
  );
  const [frame, note] = [part("frame"), part("error")].map((node) => node.getBoundingClientRect());
  expect(note?.bottom).toBeCloseTo(frame?.bottom ?? 0, 0);
  expect(note?.height).toBeLessThan(0.7 * (frame?.height ?? 0));
});

test("no results, a failure and a silent kernel each get a message", async () => {
  const request = { id: 1, shown: 1 };
  const none = await open({
    _count: 0,
    _request: { ...request, phase: "done", message: "No caption of this store has a foil." },
  });
  expect(none.find("exclip-gallery-status").textContent).toContain("has a foil");
  expect(none.grid.checkVisibility()).toBe(false);
  const failed = await open({
    _request: { ...request, phase: "error", message: "part 'x' cannot be read" },
  });
  expect(failed.find("exclip-gallery-error").textContent).toBe("part 'x' cannot be read");
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  try {
    const silent = await open({ _count: 0 }, null);
    silent.model.update({ _request: { ...request, phase: "computing", message: "" } });
    vi.advanceTimersByTime(11_000);
    expect(silent.find("exclip-gallery-error").textContent).toContain("kernel is not responding");
    expect(button(silent.el, "Find").ariaDisabled).toBe("true");
  } finally {
    vi.useRealTimers();
  }
});

test("a closed view listens to nothing, and wants nothing", async () => {
  const { model, close, stop, el } = await open();
  close();
  stop();
  expect(el.childElementCount).toBe(0);
  expect(model.listening).toBe(0);
});

test("it has no accessibility violations, light or dark, wide or narrow", async () => {
  for (const theme of ["light", "dark"]) {
    for (const width of [700, 320]) {
      document.body.dataset.jpThemeLight = String(theme === "light");
      const { el, model, loaded } = await open({}, answer, width);
      await loaded();
      model.ranked("a red boat", 2);
      await loaded();
      const { violations } = await axe.run(el);
      expect(violations.map(({ id, nodes }) => [id, nodes[0]?.html])).toEqual([]);
      expect(el.scrollWidth).toBeLessThanOrEqual(width);
    }
  }
});

test("the ends of the scroll bar are the ends of ten million images", () => {
  const layout = layOut(10_000_000, 700);
  expect(layout.height).toBe(MOST_HEIGHT);
  const top = seenAt(layout, 0, 600);
  expect([top.first, top.top, top.origin]).toEqual([0, 0, 0]);
  const bottom = seenAt(layout, layout.height - 600, 600);
  expect(bottom.last).toBe(layout.rows);
  // The last row ends where the scrolled area ends.
  expect(bottom.origin + layout.rows * layout.pitch).toBeCloseTo(layout.height, 3);
  const middle = scrollTo(layout, layout.rows / 2, 0, 600) ?? 0;
  expect(seenAt(layout, middle, 600).bottom).toBeCloseTo(layout.rows / 2, -1);
});
