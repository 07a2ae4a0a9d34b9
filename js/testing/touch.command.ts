/** Real fingers: Playwright's pages have none, so Chromium itself is asked for them. */
import type {} from "@vitest/browser-playwright"; // types the context's page and frame
import type { BrowserCommand } from "vitest/node";
import type { Point } from "./drag.command.ts";

declare module "vitest/browser" {
  interface BrowserCommands {
    /** Put one finger down at the first point, move it through the others, and lift it. */
    touch: (points: Point[]) => Promise<void>;
  }
}

export const touch: BrowserCommand<[Point[]]> = async ({ page, frame }, points) => {
  const inner = await frame();
  const box = await (await inner.frameElement()).boundingBox();
  if (!box) return;
  const scale = box.width / Number(await inner.evaluate("innerWidth"));
  const client = await page.context().newCDPSession(page);
  const send = (type: "touchStart" | "touchMove" | "touchEnd", point?: Point) =>
    client.send("Input.dispatchTouchEvent", {
      type,
      touchPoints: point ? [{ x: box.x + scale * point[0], y: box.y + scale * point[1] }] : [],
    });
  const [first, ...rest] = points;
  if (!first) return;
  await send("touchStart", first);
  for (const point of rest) await send("touchMove", point);
  await send("touchEnd");
  await client.detach();
};
