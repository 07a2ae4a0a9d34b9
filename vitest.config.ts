import { existsSync } from "node:fs";
import { playwright } from "@vitest/browser-playwright";
import { defineConfig } from "vitest/config";
import { drag } from "./js/testing/drag.command.ts";
import { highContrast } from "./js/testing/high-contrast.command.ts";
import { touch, twoFingers } from "./js/testing/touch.command.ts";

/** The browser that is named, else Debian's own, else the one Playwright manages. */
const browser = [process.env.EXCLIP_CHROMIUM, "/usr/bin/chromium"].find(
  (path) => path && existsSync(path),
);

export default defineConfig({
  cacheDir: "node_modules/.vite",
  // Found late, it would reload tests that are running.
  optimizeDeps: { include: ["axe-core"] },
  test: {
    include: ["js/test/*.test.ts"],
    setupFiles: ["js/testing/setup.ts"],
    // Generous, for machines that are busy with other things.
    testTimeout: 60_000,
    expect: { poll: { timeout: 20_000 } },
    browser: {
      enabled: true,
      headless: true,
      screenshotFailures: false,
      viewport: { width: 1000, height: 800 },
      commands: { drag, highContrast, touch, twoFingers },
      provider: playwright({
        launchOptions: {
          ...(browser ? { executablePath: browser } : {}),
          args: [
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
          ],
        },
      }),
      instances: [{ browser: "chromium" }],
    },
  },
});
