/** The host's theme, and the system's high contrast. */
import { afterEach, describe, expect, it } from "vitest";
import { commands } from "vitest/browser";
import exclip from "../main.ts";
import { open, painted, traits } from "../testing/harness.ts";
import { MockModel } from "../testing/mock.ts";

describe("the host's theme", () => {
  const page = document.documentElement;
  afterEach(() => page.removeAttribute("theme"));

  it("is Colab's attribute of the page, also if it changes", async () => {
    page.setAttribute("theme", "dark");
    const { view } = await open();
    expect(view.root.dataset.exclipTheme).toBe("dark");
    page.setAttribute("theme", "light");
    await expect.poll(() => view.root.dataset.exclipTheme).toBe("light");
    page.setAttribute("theme", "dark");
    await expect.poll(() => view.root.dataset.exclipTheme).toBe("dark");
  });
});

describe("a host that renders before it attaches", () => {
  const page = document.documentElement;
  afterEach(() => page.removeAttribute("theme"));

  async function detached() {
    const model = new MockModel(await traits());
    const el = document.createElement("div");
    const close = exclip().render({ model, el });
    const theme = () => el.querySelector<HTMLElement>(".exclip")?.dataset.exclipTheme;
    return { el, close, theme };
  }

  it("has its theme from the start", async () => {
    page.setAttribute("theme", "dark");
    const { close, theme } = await detached();
    expect(theme()).toBe("dark");
    close();
  });

  it("may have another one at its place", async () => {
    const { el, close, theme } = await detached();
    expect(theme()).toBe("light");
    await painted();
    const place = document.createElement("div");
    place.className = "dark";
    document.body.append(place);
    place.append(el);
    await painted();
    expect(theme()).toBe("dark");
    close();
  });
});

describe.each(["light", "dark"] as const)("in %s high contrast", (scheme) => {
  afterEach(() => commands.highContrast(null));

  it("values keep their colours, and everything else has the system's", async () => {
    // The host's theme may be the other one.
    document.body.dataset.jpThemeLight = String(scheme === "dark");
    await commands.highContrast(scheme);
    const { view } = await open({ tokens: [2] });
    expect(view.root.dataset.exclipTheme).toBe(scheme);
    const color = (text: string) => {
      const probe = document.createElement("div");
      probe.style.color = text;
      document.body.append(probe);
      return getComputedStyle(probe).color;
    };
    const system = [color("CanvasText"), color("Canvas")];
    expect(system[0]).not.toBe(system[1]);
    const { color: ink, backgroundColor: ground } = getComputedStyle(view.root);
    expect([ink, ground]).toEqual(system);

    const styleOf = (selector: string) =>
      getComputedStyle(view.root.querySelector(selector) as Element);
    const tints = view.words.map((word) => getComputedStyle(word.firstElementChild as Element));
    expect(new Set(tints.map((tint) => tint.backgroundColor)).size).toBe(view.words.length);
    expect(tints.every((tint) => tint.boxShadow !== "none")).toBe(true);
    for (const selector of [".exclip-gradient", ".exclip-fill", ".exclip-mark", ".exclip-range"]) {
      expect(styleOf(selector).forcedColorAdjust, selector).toBe("none");
    }
    // What is pressed is marked by more than its ground.
    expect(styleOf(".exclip-tool[aria-pressed=true]").boxShadow).toContain("inset");
    expect(styleOf(".exclip-tool[aria-pressed=false]").boxShadow).toBe("none");
  });
});
