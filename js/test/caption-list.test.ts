import axe from "axe-core";
import { describe, expect, it } from "vitest";
import { userEvent } from "vitest/browser";
import listed from "../captions.ts";
import "../captions.css";
import type { Scores, Traits } from "../protocol.ts";
import {
  accept,
  CAPTION,
  center,
  changesAsked,
  click,
  EMPTY,
  open,
  painted,
  range,
  refuse,
  result,
  View,
} from "../testing/harness.ts";
import { tokensOf } from "../testing/mock.ts";

const CAPTIONS = [CAPTION, "a blue boat", "<b>two</b> fish", "a green car"];
const SCORES: Scores = {
  similarities: [0.21, 0.312, -0.04, 0.2],
  probabilities: [0.1, 0.8999, 0.0001, 0],
  rule: "softmax",
};
/** By similarity. */
const RANKED = ["a blue boat", CAPTION, "a green car", "<b>two</b> fish"];
const FOILED = {
  foil: "a blue boat",
  _foil_tokens: tokensOf("a blue boat"),
  _foil_result: result(5),
  _alignment: range(5).map((row) => [row, row] as const),
};

const openList = (changes: Partial<Traits> = {}) =>
  open({ captions: CAPTIONS, _scores: SCORES, ...changes }, listed);
const rows = (view: View) => [...view.el.querySelectorAll<HTMLElement>("[role=option]")];
const texts = (view: View) =>
  rows(view).map((row) => row.querySelector(".exclip-listed-text")?.textContent);
const row = (view: View, text: string) => rows(view)[texts(view).indexOf(text)] as HTMLElement;
const chosen = (view: View) =>
  texts(view).filter((_, at) => rows(view)[at]?.getAttribute("aria-selected") === "true");
const parts = (view: View) =>
  rows(view).map((one) => one.querySelector(".exclip-listed-part")?.textContent);
const list = (view: View) => view.find("exclip-listed");

describe("the list", () => {
  it("ranks captions, and gives each number as text", async () => {
    const { view } = await openList();
    expect(texts(view)).toEqual(RANKED);
    expect(chosen(view)).toEqual([CAPTION]);
    expect(rows(view).map((one) => one.textContent)).toEqual([
      "1a blue boat, similarity 0.312, softmax probability 90.0 %",
      "2a red boat, similarity 0.210, softmax probability 10.0 %",
      "3a green car, similarity 0.200, softmax probability 0.0 %",
      "4<b>two</b> fish, similarity −0.040, softmax probability < 0.1 %",
    ]);
    expect(view.el.querySelector("[role=option] b")).toBeNull();
    expect(list(view).ariaBusy).toBe("false");
  });

  it("keeps the given order if two are equally similar", async () => {
    const similarities = [0.1, 0.3, 0.1, 0.3];
    const { view } = await openList({ _scores: { ...SCORES, similarities } });
    expect(texts(view)).toEqual([1, 3, 0, 2].map((index) => CAPTIONS[index]));
  });

  it("gives a similarity that rounds to 0 no sign", async () => {
    const similarities = [0.0003, -0.0003, -0.0006, 0];
    const { view } = await openList({ _scores: { ...SCORES, similarities } });
    const shown = (text: string) => row(view, text).querySelectorAll(".exclip-listed-number")[0];
    expect(CAPTIONS.map((text) => shown(text)?.textContent)).toEqual(["0", "0", "−0.001", "0"]);
  });

  it("names a sigmoid as one", async () => {
    const { view } = await openList({ _scores: { ...SCORES, rule: "sigmoid" } });
    expect(row(view, CAPTION).textContent).toContain(", sigmoid probability 10.0 %");
    expect(view.el.querySelector(".exclip-listed-head")?.textContent).toContain("sigmoid");
  });

  it("has no probabilities if the model has none", async () => {
    const { view } = await openList({ _scores: { ...SCORES, probabilities: null, rule: null } });
    expect(row(view, CAPTION).textContent).toBe("2a red boat, similarity 0.210");
  });

  it("is hidden without captions", async () => {
    const { view } = await openList({ captions: [], _scores: null });
    expect(list(view).checkVisibility()).toBe(false);
  });
});

describe("choosing", () => {
  it("a click asks for a caption, which counts at once, and is undone if it is refused", async () => {
    const { model, view } = await openList();
    await click(center(row(view, "a green car")));
    expect(changesAsked(model).map(({ changes }) => changes)).toEqual([{ caption: "a green car" }]);
    expect(chosen(view)).toEqual(["a green car"]);
    refuse(model, "caption: no");
    expect(chosen(view)).toEqual([CAPTION]);
    expect(view.find("exclip-refused-caption").textContent).toBe("caption: no");
    await click(center(row(view, CAPTION)));
    expect(changesAsked(model)).toHaveLength(1);
  });

  it("Shift-click makes another one the foil, and shows their difference", async () => {
    const { model, view } = await openList();
    await click(center(row(view, "a blue boat")), ["Shift"]);
    expect(changesAsked(model).at(-1)?.changes).toEqual({ foil: "a blue boat" });
    expect(chosen(view)).toEqual(["a blue boat", CAPTION]);
    model.update({ ...FOILED, _revision: 1 });
    accept(model);
    expect(parts(view)).toEqual(["foil", "caption", "", ""]);
    expect(view.words.map((word) => word.textContent)).toContain("red − blue");
  });

  it("Shift-click selects no text", async () => {
    const { view } = await openList();
    await click(center(row(view, CAPTION)));
    await click(center(row(view, "a green car")), ["Shift"]);
    expect(String(getSelection())).toBe("");
  });

  it("a foil that was chosen elsewhere does not change what is looked at", async () => {
    const { model, view } = await openList();
    model.update({ ...FOILED, _revision: 1 });
    expect(parts(view)).toEqual(["foil", "caption", "", ""]);
    expect(view.words.map((word) => word.textContent)).toEqual(["a", "red", "boat"]);
  });

  it.each([
    ["the foil", "a blue boat", ["Shift"], { foil: null }],
    [
      "the caption, of which the foil is left",
      CAPTION,
      ["Shift"],
      { caption: "a blue boat", foil: null },
    ],
    ["another foil", "a green car", ["Shift"], { foil: "a green car" }],
    ["one alone", "a green car", [], { caption: "a green car", foil: null }],
    ["the caption alone", CAPTION, [], { foil: null }],
  ])("of two, %s", async (_, text, keys, changes) => {
    const { model, view } = await openList(FOILED);
    await click(center(row(view, text)), keys);
    expect(changesAsked(model).map((asked) => asked.changes)).toEqual([changes]);
  });

  it("on touch screens, the switch does what Shift does", async () => {
    const { model, view } = await openList();
    const compare = view.find("exclip-compare");
    await click(center(compare));
    expect(compare.getAttribute("aria-pressed")).toBe("true");
    await click(center(row(view, "a green car")));
    expect(changesAsked(model).at(-1)?.changes).toEqual({ foil: "a green car" });
  });

  it("keys move through the ranks, and Enter or the space bar chooses", async () => {
    const { model, view } = await openList();
    const focused = () => texts(view)[rows(view).indexOf(document.activeElement as HTMLElement)];
    const stops = rows(view).filter(({ tabIndex }) => tabIndex === 0);
    expect(stops).toEqual([row(view, CAPTION)]);
    row(view, CAPTION).focus();
    const visited = [];
    for (const key of ["ArrowDown", "End", "ArrowDown", "ArrowUp", "PageUp", "Home", "PageDown"]) {
      await userEvent.keyboard(`{${key}}`);
      visited.push(RANKED.indexOf(focused() ?? ""));
    }
    expect(visited).toEqual([2, 3, 3, 2, 0, 0, 3]);
    expect(changesAsked(model)).toEqual([]);
    await userEvent.keyboard("{Enter}");
    expect(changesAsked(model).at(-1)?.changes).toEqual({ caption: "<b>two</b> fish" });
    await userEvent.keyboard("{ArrowUp}{Shift>} {/Shift}");
    expect(changesAsked(model).at(-1)?.changes).toEqual({ foil: "a green car" });
  });

  it("needs a kernel", async () => {
    const { model, view } = await openList({ _choices: null });
    expect(list(view).ariaDisabled).toBe("true");
    expect(view.find("exclip-compare").checkVisibility()).toBe(false);
    await click(center(row(view, "a green car")));
    row(view, "a green car").focus();
    await userEvent.keyboard("{Enter}");
    expect(changesAsked(model)).toEqual([]);
    expect(chosen(view)).toEqual([CAPTION]);
  });
});

describe("what changes", () => {
  it("numbers stay, dimmed, until new ones arrive; the focus stays on its caption", async () => {
    const { model, view } = await openList();
    row(view, "a green car").focus();
    model.update({ _scores: null, _revision: 1 });
    expect(texts(view)).toEqual(RANKED);
    expect(list(view).ariaBusy).toBe("true");
    model.update({ _scores: { ...SCORES, similarities: [0.1, 0, 0.2, 0.9] }, _revision: 2 });
    expect(texts(view)).toEqual(["a green car", "<b>two</b> fish", CAPTION, "a blue boat"]);
    expect(list(view).ariaBusy).toBe("false");
    expect(document.activeElement).toBe(row(view, "a green car"));
  });

  it("new captions have no numbers until numbers that fit them arrive", async () => {
    const { model, view } = await openList();
    const captions = ["one", "two", CAPTION];
    // As on hosts that announce one trait after the other.
    model.set("captions", captions);
    expect(texts(view)).toEqual(captions);
    expect(list(view).ariaBusy).toBe("true");
    expect(list(view).textContent).not.toMatch(/\d/);
    const scores = { similarities: [0, 1, 0.5], probabilities: null, rule: null };
    model.set("_scores", scores);
    expect(texts(view)).toEqual(["two", CAPTION, "one"]);
    expect(chosen(view)).toEqual([CAPTION]);
  });

  it("two views agree, and nothing listens after they are closed", async () => {
    const { model, widget, stop, view } = await openList();
    const other = new View(widget, model);
    await click(center(row(view, "a green car")));
    expect(chosen(other)).toEqual(["a green car"]);
    view.close();
    other.close();
    stop();
    expect(model.listening).toBe(0);
  });

  it("a thousand captions scroll, and the chosen one is in sight", async () => {
    const captions = range(1000).map((i) => `a photo of thing ${i}`);
    const similarities = captions.map((_, i) => Math.sin(i));
    const caption = captions[500] as string;
    const { view } = await openList({
      captions,
      caption,
      _result: EMPTY,
      _scores: { similarities, probabilities: null, rule: null },
    });
    await painted();
    expect(rows(view)).toHaveLength(1000);
    const inside = list(view).getBoundingClientRect();
    const { top, bottom } = row(view, caption).getBoundingClientRect();
    expect(top).toBeGreaterThanOrEqual(inside.top - 1);
    expect(bottom).toBeLessThanOrEqual(inside.bottom + 1);
    expect(document.scrollingElement?.scrollTop).toBe(0);
  });
});

describe.each(["light", "dark"] as const)("in the %s theme", (theme) => {
  it.each([1000, 700, 360, 240])("is accessible at %i px", async (width) => {
    document.body.dataset.jpThemeLight = String(theme === "light");
    const long = "a photo of a boat with a very long name ".repeat(3);
    const captions = [...CAPTIONS.slice(0, 3), long];
    const { view } = await openList({ ...FOILED, captions });
    view.el.style.width = `${width}px`;
    view.el.style.background = theme === "light" ? "#fff" : "#111";
    await painted();
    const { violations } = await axe.run(view.el, {
      runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"],
      rules: { region: { enabled: false } },
    });
    expect(
      violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join("\n")}`),
    ).toEqual([]);
    for (const text of view.el.querySelectorAll(".exclip-listed-text")) {
      expect(text.getBoundingClientRect().width).toBeGreaterThan(100);
    }
    const { left, right } = view.root.getBoundingClientRect();
    for (const node of view.el.querySelectorAll(".exclip-listed *")) {
      const box = node.getBoundingClientRect();
      if (box.width === 0) continue;
      expect(box.left, node.outerHTML.slice(0, 120)).toBeGreaterThanOrEqual(left - 1);
      expect(box.right, node.outerHTML.slice(0, 120)).toBeLessThanOrEqual(right + 1);
    }
  });
});
