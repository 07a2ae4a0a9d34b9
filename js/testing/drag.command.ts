/**
 * A real pointer: presses at the first point, moves through the others and
 * releases at the last. Runs outside the browser, in Playwright's process.
 */
import type {} from "@vitest/browser-playwright"; // types the context's page and frame
import type { BrowserCommand } from "vitest/node";

export type Point = [x: number, y: number];

declare module "vitest/browser" {
  interface BrowserCommands {
    /** Drag through points, in the test page's own pixels, while `keys` are held. */
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
