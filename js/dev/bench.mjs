// Measures the built widget in Chromium: first paint, and pointer event to
// painted heat map at 77 tokens x 1024 patches.
//
// Also measures a gallery of 10,000 images: frames while scrolling, and memory.
//
//   npm run bench
//   npm run bench -- --gallery
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
      rolldownOptions: { input: entry, external: /(widget|gallery)\.js$/ },
    },
  });
  return output[0].code;
};
const pageOf = (widget, script) => [
  "text/html",
  `<!doctype html><meta charset=utf-8><link rel=stylesheet href=${widget}.css>
   <body style="margin:16px"><div id=widget></div><script type=module src=${script}.js></script>`,
];
const files = {
  "/": pageOf("widget", "bench"),
  "/gallery": pageOf("gallery", "gallery-bench"),
  "/bench.js": ["text/javascript", await bundle("js/dev/bench.ts")],
  "/gallery-bench.js": ["text/javascript", await bundle("js/dev/gallery-bench.ts")],
  "/gallery.js": ["text/javascript", await readFile("exclip_widget/widget/static/gallery.js")],
  "/gallery.css": ["text/css", await readFile("exclip_widget/widget/static/gallery.css")],
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

/** Measure a gallery of 10,000 images: frames while scrolling, elements in the page, and memory. */
async function gallery() {
  const page = await browser.newPage({ viewport: { width: 1000, height: 900 } });
  await page.goto(`${address}gallery`);
  await page.waitForFunction("window.gallery");
  const client = await page.context().newCDPSession(page);
  const memory = async () => {
    await client.send("HeapProfiler.collectGarbage");
    const { usedSize } = await client.send("Runtime.getHeapUsage");
    return (usedSize / 2 ** 20).toFixed(1);
  };
  await page.evaluate("gallery.complete()");
  const [nodes, before] = [await page.evaluate("gallery.nodes()"), await memory()];
  report("gallery, phrase to all heat maps", await page.evaluate("gallery.phrases(20)"));
  // Time on the page's own thread, which does not depend on what else the machine does.
  await client.send("Performance.enable", { timeDomain: "threadTicks" });
  const cpu = async () => {
    const { metrics } = await client.send("Performance.getMetrics");
    return 1000 * metrics.find(({ name }) => name === "TaskDuration").value;
  };
  const frames = 400;
  for (const pixels of [20, 120, 1000]) {
    const start = await cpu();
    const gaps = await page.evaluate(`gallery.scroll(${frames}, ${pixels})`);
    report(`gallery, ${pixels} pixels a frame, between frames`, gaps);
    console.log(`  of the processor ${(((await cpu()) - start) / frames).toFixed(1)} ms a frame`);
  }
  report("gallery, jump to a complete screen", await page.evaluate("gallery.jumps(30)"));
  const most = await page.evaluate("gallery.nodes()");
  console.log(
    `gallery, elements ${nodes}, then ${most}; heap ${before} MiB, then ${await memory()} MiB`,
  );
  await page.close();
}

if (process.argv.includes("--gallery")) {
  await gallery();
  await browser.close();
  server.close();
  process.exit();
}

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

/** Move through points a little apart in time, as a hand does. */
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

await page.close();
await gallery();
await browser.close();
server.close();
