/** Real fingers: Playwright's pages have none, so Chromium itself is asked for them. */
import type {} from "@vitest/browser-playwright"; // types the context's page and frame
import type { BrowserCommand, BrowserCommandContext } from "vitest/node";
import type { Point } from "./drag.command.ts";

declare module "vitest/browser" {
  interface BrowserCommands {
    /** Put one finger down at the first point, move it through the others, and lift it. */
    touch: (points: Point[]) => Promise<void>;
    /** Put one finger down, then a second one, and lift them, the second one first. */
    twoFingers: (first: Point, second: Point) => Promise<void>;
  }
}

/** Return a function that says where fingers are; those that end do so in the order of the last list. */
async function fingersOn({ page, frame }: BrowserCommandContext) {
  const inner = await frame();
  const box = await (await inner.frameElement()).boundingBox();
  const client = await page.context().newCDPSession(page);
  const scale = (box?.width ?? 0) / Number(await inner.evaluate("innerWidth"));
  return (type: "touchStart" | "touchMove" | "touchEnd", ...points: [id: number, at: Point][]) =>
    client.send("Input.dispatchTouchEvent", {
      type,
      touchPoints: points.map(([id, [x, y]]) => ({
        id,
        x: (box?.x ?? 0) + scale * x,
        y: (box?.y ?? 0) + scale * y,
      })),
    });
}

export const touch: BrowserCommand<[Point[]]> = async (context, points) => {
  const send = await fingersOn(context);
  const [first, ...rest] = points;
  if (!first) return;
  await send("touchStart", [0, first]);
  for (const point of rest) await send("touchMove", [0, point]);
  await send("touchEnd");
};

export const twoFingers: BrowserCommand<[Point, Point]> = async (context, first, second) => {
  const send = await fingersOn(context);
  await send("touchStart", [1, first]);
  await send("touchStart", [0, second], [1, first]);
  await send("touchEnd");
};
