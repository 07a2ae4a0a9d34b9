/** The host's theme, light or dark. */
import { afterEach, describe, expect, it } from "vitest";
import { open } from "../testing/harness.ts";

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
