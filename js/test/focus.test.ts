/** The focus stays in the widget, whatever arrives while it is there. */
import { describe, expect, it } from "vitest";
import listed from "../captions.ts";
import "../captions.css";
import type { Traits } from "../protocol.ts";
import {
  CAPTION,
  EMPTY,
  entry,
  open,
  PATCHES,
  painted,
  range,
  result,
} from "../testing/harness.ts";
import { type MockModel, payload, tokensOf } from "../testing/mock.ts";

const TEST = { id: 1, tokens: [2], region: [], predicted: 0.1, actual: 0.1, label: "red" };
const FOILED: Partial<Traits> = {
  foil: "a red dog",
  _foil_tokens: tokensOf("a red dog"),
  _foil_result: result(5),
  _alignment: range(5).map((row) => [row, row] as const),
};
const other = () =>
  payload(
    range(5 * PATCHES).map((i) => -entry(Math.floor(i / PATCHES), i % PATCHES)),
    range(5).map(() => 0),
  );

const cases: [
  name: string,
  traits: Partial<Traits>,
  selector: string,
  arrive: (model: MockModel) => void,
  heir: string,
][] = [
  [
    "a word, and another caption comes",
    {},
    ".exclip-word:not(:first-child)",
    (model) => {
      model.begin(1, { caption: "two old dogs", _tokens: tokensOf("two old dogs") });
      model.finish(1, { _result: result(5) });
    },
    ".exclip-word",
  ],
  [
    "a test, and another test comes",
    { _tests: [TEST] },
    "button.exclip-trial",
    (model) => model.set("_tests", [TEST, { ...TEST, id: 2, label: "boat" }]),
    '.exclip-trial[aria-label^="red:"]',
  ],
  [
    "*Cancel*, and the computation ends",
    { _result: EMPTY, _request: { id: 1, phase: "computing", message: "" } },
    "[data-testid=exclip-cancel]",
    (model) => model.finish(1, { _result: result(5) }),
    ".exclip-status",
  ],
  [
    "the button that removes the foil, and the foil is removed",
    FOILED,
    '[aria-label="Remove the foil"]',
    (model) => {
      model.update({ foil: null, _foil_tokens: [], _foil_result: EMPTY, _alignment: [] });
    },
    ".exclip-add",
  ],
  [
    "a listed caption, and other captions come",
    { captions: [CAPTION, "a dog"] },
    "[role=option]:last-child",
    (model) => model.set("captions", [CAPTION, "a cat", "a fish"]),
    "[role=option]",
  ],
];

describe("with the focus on", () => {
  it.each(cases)("%s", async (_, traits, selector, arrive, heir) => {
    const { model, view } = await open(traits, listed as never);
    view.el.querySelector<HTMLElement>(selector)?.focus();
    expect(document.activeElement?.matches(selector)).toBe(true);
    arrive(model);
    await painted();
    expect(document.activeElement?.matches(heir)).toBe(true);
  });

  it("a strongest pair, and other pairs come, those are previewed", async () => {
    const { model, view } = await open();
    const pairs = () => [...view.el.querySelectorAll<HTMLElement>(".exclip-pair")];
    await expect.poll(() => pairs().length).toBeGreaterThan(1);
    const [, before] = pairs();
    before?.focus();
    model.begin(1, { image_layer: 3 });
    model.finish(1, { _result: other() });
    await expect.poll(() => before?.isConnected).toBe(false);
    await painted();
    const now = document.activeElement;
    expect(now).toBe(pairs()[1]);
    const under = [...view.el.querySelectorAll(".exclip-word.exclip-under")];
    expect(now?.textContent?.startsWith(under.map((word) => word.textContent).join(" "))).toBe(
      true,
    );
    // The Tab key returns to it.
    expect(pairs().filter(({ tabIndex }) => tabIndex === 0)).toEqual([now]);
  });

  it("a strongest pair, and no pairs are left, nothing stays previewed", async () => {
    const { model, view } = await open();
    const pairs = () => [...view.el.querySelectorAll<HTMLElement>(".exclip-pair")];
    await expect.poll(() => pairs().length).toBeGreaterThan(1);
    const whole = view.values();
    pairs()[0]?.focus();
    expect(view.values()).not.toEqual(whole);
    model.begin(1, { caption: "a blue dog", _tokens: tokensOf("a blue dog") });
    model.finish(1, { _result: result(5) });
    await painted();
    expect(view.values()).toEqual(whole);
  });
});
