/** High contrast, as Windows has it: the browser replaces the page's colours by a few of the system's. */
import type {} from "@vitest/browser-playwright"; // types the context's page and frame
import type { BrowserCommand } from "vitest/node";

declare module "vitest/browser" {
  interface BrowserCommands {
    /** Turn on high contrast, light or dark; null turns it off. */
    highContrast: (scheme: "light" | "dark" | null) => Promise<void>;
  }
}

export const highContrast: BrowserCommand<["light" | "dark" | null]> = ({ page }, colorScheme) =>
  page.emulateMedia({ forcedColors: colorScheme ? "active" : null, colorScheme });
