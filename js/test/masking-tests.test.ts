import { describe, expect, it, vi } from "vitest";
import { userEvent } from "vitest/browser";
import { accept, click, missAnswer, open, refuse } from "../testing/harness.ts";

describe("testing a selection", () => {
  const TESTS = [
    {
      id: 1,
      tokens: [2],
      region: [1, 2],
      predicted: 0.03,
      actual: 0.021,
      label: "red × 2 patches",
    },
    { id: 2, tokens: [3], region: [], predicted: -0.01, actual: 0.002, label: "<i>boat</i>" },
  ];

  it("masks the selection, once there is one", async () => {
    const { model, view } = await open();
    const test = view.find("exclip-test");
    expect(test.getAttribute("aria-disabled")).toBe("true");
    await userEvent.click(test, { force: true });
    expect(model.sent.filter(({ kind }) => kind === "test")).toEqual([]);
    await click(view.middle("red"));
    await click(view.patch(5));
    await userEvent.click(test);
    expect(model.sent.at(-1)).toMatchObject({ kind: "test", tokens: [2], region: [5] });
    expect(test.textContent).toBe("Testing…");
    const { question } = model.sent.at(-1) as { question: number };
    model.set("_tests", TESTS);
    accept(model, { question });
    expect(test.textContent).toBe("Test this selection");
  });

  it("shows predicted beside actual, as rows and as dots", async () => {
    const { view } = await open({ _tests: TESTS });
    const rows = [...view.el.querySelectorAll<HTMLElement>("button.exclip-trial")];
    expect(rows.map((row) => row.textContent)).toEqual([
      "<i>boat</i>−0.0100+0.00200",
      "red × 2 patches+0.0300+0.0210",
    ]);
    // From the middle of the plot, up and to the right.
    const dots = [...view.el.querySelectorAll("circle")].map((dot) => [
      Number(dot.getAttribute("cx")) - 50,
      50 - Number(dot.getAttribute("cy")),
    ]);
    expect(dots[0]?.[0]).toBeGreaterThan(0);
    expect(dots[0]?.[1]).toBeCloseTo(((dots[0]?.[0] ?? 0) * 0.021) / 0.03, 6);
    expect(dots[1]?.[0]).toBeLessThan(0);
  });

  it("shows numbers that are not finite as unknown", async () => {
    const unknown = { id: 3, tokens: [1], region: [], predicted: null, actual: null, label: "a" };
    const { view } = await open({ _tests: [...TESTS, unknown] });
    const [row] = view.el.querySelectorAll<HTMLElement>("button.exclip-trial");
    expect(row?.textContent).toBe("a––");
    expect(row?.ariaLabel).toContain("predicted unknown, actual unknown");
    expect(view.el.querySelectorAll("circle").length).toBe(TESTS.length);
  });

  it("selects again what a row tested", async () => {
    const { model, view } = await open({ _tests: TESTS });
    const row = view.el.querySelectorAll<HTMLElement>("button.exclip-trial")[1];
    row?.focus();
    await userEvent.keyboard("{Enter}");
    expect(model.get("tokens")).toEqual([2]);
    expect(model.get("region")).toEqual([1, 2]);
  });

  it("is refused with a message, and cleared", async () => {
    const { model, view } = await open({ _tests: TESTS, tokens: [2] });
    await userEvent.click(view.find("exclip-test"));
    refuse(model, "The text tower reads no masks.", model.sent.at(-1) as { question: number });
    expect(view.find("exclip-refused-test").textContent).toBe("The text tower reads no masks.");
    await userEvent.click(view.find("exclip-untest"));
    expect(model.sent.at(-1)).toEqual({ kind: "clear_tests" });
    expect(view.find("exclip-refused-test").hidden).toBe(true);
  });

  it("is dropped if something else is asked for meanwhile", async () => {
    const { model, view } = await open({ tokens: [2] });
    await userEvent.click(view.find("exclip-test"));
    expect(view.find("exclip-test").textContent).toBe("Testing…");
    view.find("exclip-image_layer").focus();
    await userEvent.keyboard("{ArrowRight}");
    model.begin(1, { image_layer: 3 });
    accept(model);
    expect(view.find("exclip-test").textContent).toBe("Test this selection");
  });

  it("that takes its time is asked for again under its number, and never counts as lost", async () => {
    const { model, view } = await open({ tokens: [2] });
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    model.receive({ kind: "alive" });
    const asks = () => model.sent.filter(({ kind }) => kind === "test");
    view.find("exclip-test").click();
    const [asked] = asks();
    missAnswer(model);
    // The kernel may be gone, and what it shows may have changed.
    expect(asks()).toEqual([asked]);
    for (let i = 0; i < 8; i++) missAnswer(model);
    expect(asks()).toEqual(Array(9).fill(asked));
    vi.useRealTimers();
    expect(view.find("exclip-test").textContent).toBe("Testing…");
    expect(view.find("exclip-refused-test").hidden).toBe(true);
    model.set("_tests", TESTS);
    accept(model, asked as { question: number });
    expect(view.find("exclip-test").textContent).toBe("Test this selection");
  });

  it("that takes its time leaves everything else to be used", async () => {
    const { model, view } = await open({ tokens: [2] });
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    model.receive({ kind: "alive" });
    view.find("exclip-test").click();
    vi.advanceTimersByTime(11_000);
    expect(view.find("exclip-choose").ariaDisabled).toBe("false");
    // Until the kernel answers, it may as well be gone.
    expect(view.find("exclip-notice").textContent).toContain("not responding");
    model.receive({ kind: "alive" });
    vi.useRealTimers();
    expect(view.find("exclip-notice").hidden).toBe(true);
    expect(view.find("exclip-test").textContent).toBe("Testing…");
  });

  it("waits for the result", async () => {
    const { model, view } = await open({ tokens: [2] });
    model.begin(4);
    expect(view.find("exclip-test").getAttribute("aria-disabled")).toBe("true");
  });
});
