import { existsSync } from "node:fs";
import { playwright } from "@vitest/browser-playwright";
import { defineConfig } from "vitest/config";
import { drag } from "./js/test/drag.command.ts";

/** Debian's own browser where there is one; else the one Playwright manages. */
const debian = "/usr/bin/chromium";

export default defineConfig({
  cacheDir: "node_modules/.vite",
  test: {
    include: ["js/test/*.test.ts"],
    setupFiles: ["js/test/setup.ts"],
    // Generous, for machines that are busy with other things.
    testTimeout: 60_000,
    expect: { poll: { timeout: 20_000 } },
    browser: {
      enabled: true,
      headless: true,
      screenshotFailures: false,
      viewport: { width: 1000, height: 800 },
      commands: { drag },
      provider: playwright({
        launchOptions: {
          ...(existsSync(debian) ? { executablePath: debian } : {}),
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
