/**
 * A real pointer: presses at the first point, moves through the others and
 * lets go at the last. Runs beside the browser, where Playwright is.
 */
import type {} from "@vitest/browser-playwright"; // types the context's page and frame
import type { BrowserCommand } from "vitest/node";

export type Point = [x: number, y: number];

declare module "vitest/browser" {
  interface BrowserCommands {
    /** Points in the test page's own pixels; `keys` are held meanwhile. */
    drag: (points: Point[], keys?: string[], release?: boolean) => Promise<void>;
  }
}

export const drag: BrowserCommand<[Point[], string[]?, boolean?]> = async (
  { page, frame },
  points,
  keys = [],
  release = true,
) => {
  // The page under test is a frame that the runner may show scaled down.
  const inner = await frame();
  const box = await (await inner.frameElement()).boundingBox();
  if (!box) return;
  const scale = box.width / Number(await inner.evaluate("innerWidth"));
  const move = ([x, y]: Point) => page.mouse.move(box.x + scale * x, box.y + scale * y);
  const [first, ...rest] = points;
  if (!first) return;
  for (const key of keys) await page.keyboard.down(key);
  await move(first);
  await page.mouse.down();
  for (const point of rest) await move(point);
  if (release) await page.mouse.up();
  for (const key of keys) await page.keyboard.up(key);
};
