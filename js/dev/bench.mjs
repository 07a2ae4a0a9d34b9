// Measures the built widget in Chromium: first paint, and pointer event to
// painted heat map at 77 tokens x 1024 patches.
//
//   npm run bench
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { chromium } from "playwright";
import { build } from "vite";

const bundle = async (entry) => {
  const { output } = await build({
    configFile: false,
    logLevel: "warn",
    build: {
      write: false,
      modulePreload: false,
      rolldownOptions: { input: entry, external: /widget\.js$/ },
    },
  });
  return output[0].code;
};
const files = {
  "/": [
    "text/html",
    `<!doctype html><meta charset=utf-8><link rel=stylesheet href=widget.css><body style="margin:16px">
     <div id=widget></div><script type=module src=bench.js></script>`,
  ],
  "/bench.js": ["text/javascript", await bundle("js/dev/bench.ts")],
  "/widget.js": ["text/javascript", await readFile("exclip_widget/widget/static/widget.js")],
  "/widget.css": ["text/css", await readFile("exclip_widget/widget/static/widget.css")],
};
const server = createServer((request, response) => {
  const [type, body] = files[request.url] ?? ["text/plain", ""];
  response.writeHead(200, { "content-type": type }).end(body);
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));

const executablePath = [process.env.EXCLIP_CHROMIUM, "/usr/bin/chromium"].find(
  (path) => path && existsSync(path),
);
const browser = await chromium.launch({
  ...(executablePath ? { executablePath } : {}),
  args: ["--no-sandbox", "--disable-gpu"],
});
const address = `http://127.0.0.1:${server.address().port}/`;

const quantile = (values, q) => {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))];
};
const report = (name, values, n = values.length) => {
  const [p50, p95] = [0.5, 0.95].map((q) => quantile(values, q).toFixed(1));
  console.log(`${name.padEnd(44)} p50 ${p50.padStart(6)} ms   p95 ${p95.padStart(6)} ms   n ${n}`);
};

const starts = [];
for (let i = 0; i < 10; i++) {
  const page = await browser.newPage({ viewport: { width: 1000, height: 900 } });
  await page.goto(address);
  await page.waitForFunction("window.bench");
  starts.push(await page.evaluate("({ ...bench, take: 0 })"));
  await page.close();
}
report(
  "module loaded and run",
  starts.map(({ load }) => load),
);
report(
  "module loaded to first paint",
  starts.map(({ firstPaint }) => firstPaint),
);

const page = await browser.newPage({ viewport: { width: 1000, height: 900 } });
await page.goto(address);
await page.waitForFunction("window.bench");
const picture = await page.getByTestId("exclip-heat").boundingBox();
const words = await Promise.all(
  (await page.getByTestId("exclip-word").all()).map((word) => word.boundingBox()),
);

/** Moves through points a little apart in time, as a hand does. */
async function along(name, points, { press = false, prepare } = {}) {
  await prepare?.();
  await page.mouse.move(...points[0]);
  if (press) await page.mouse.down();
  await page.evaluate("bench.take()");
  for (const point of points.slice(1)) {
    await page.mouse.move(...point);
    await page.waitForTimeout(20);
  }
  const samples = await page.evaluate("bench.take()");
  if (press) await page.mouse.up();
  await page.keyboard.press("Escape");
  report(
    `${name}, drawn`,
    samples.map(({ drawn }) => drawn),
  );
  report(
    `${name}, frame done`,
    samples.map(({ presented }) => presented),
  );
}

const refined = await page.evaluate("bench.refine(40)");
report(
  "an estimate from the kernel, taken in",
  refined.map(({ drawn }) => drawn),
);
report(
  "an estimate from the kernel, frame done",
  refined.map(({ presented }) => presented),
);

report("a stream of 64 MB, between frames", await page.evaluate("bench.stream()"));

const overWords = words.flatMap((box) => (box ? [[box.x + box.width / 2, box.y + 8]] : []));
const overPicture = Array.from({ length: 150 }, (_, i) => [
  picture.x + picture.width * (0.5 + 0.45 * Math.sin(i / 9)),
  picture.y + picture.height * (0.5 + 0.45 * Math.sin(i / 14)),
]);
const tool = (name) => () => page.getByRole("button", { name, exact: true }).click();
await along("hover over words", overWords);
await along("drag over words", overWords, { press: true });
await along("hover over patches", overPicture);
await along("box", overPicture, { press: true });
await along("brush", overPicture, { press: true, prepare: tool("Brush") });
await along("lasso", overPicture, { press: true, prepare: tool("Lasso") });
await along("hover over words, smooth", overWords, {
  prepare: async () => {
    await tool("Appearance")();
    await tool("Smooth between patches")();
  },
});

await browser.close();
server.close();
