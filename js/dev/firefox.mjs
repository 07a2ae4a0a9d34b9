// Visits the development page in the installed Firefox: words, a region, both, an edited caption, a
// layer, a hint. Firefox supports WebDriver BiDi natively, so no special build is needed.
//
// Also visits a written page (`Interactions.to_html`), opened as a file, if one is named.
//
//   npm install --no-save puppeteer-core && node js/dev/firefox.mjs [PICTURE.png [PAGE.html]]
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { pathToFileURL } from "node:url";
import puppeteer from "puppeteer-core";
import { build } from "vite";

const { output } = await build({
  configFile: false,
  logLevel: "warn",
  build: { write: false, modulePreload: false, rolldownOptions: { input: "js/dev/dev.ts" } },
});
const files = {
  "/": [
    "text/html",
    `<!doctype html><meta charset=utf-8><link rel=stylesheet href=widget.css><body style="margin:16px">
     <div id=widget></div><script type=module src=dev.js></script>`,
  ],
  "/dev.js": ["text/javascript", output[0].code],
  "/widget.css": ["text/css", await readFile("exclip_widget/widget/static/widget.css")],
};
const server = createServer((request, response) => {
  const [type, body] = files[request.url] ?? ["text/plain", ""];
  response.writeHead(200, { "content-type": type }).end(body);
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const browser = await puppeteer.launch({
  browser: "firefox",
  executablePath: process.env.EXCLIP_FIREFOX ?? "/usr/bin/firefox-esr",
  headless: true,
});
const errors = [];
try {
  const page = await browser.newPage();
  await page.setViewport({ width: 1000, height: 900 });
  page.on("pageerror", (error) => errors.push(error));
  page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
  await page.goto(`http://127.0.0.1:${server.address().port}/`);
  await page.waitForSelector('[data-testid="exclip"][data-phase="done"]');

  const words = (text) =>
    `::-p-xpath(//button[@data-testid="exclip-word"][normalize-space()="${text}"])`;
  const button = (name) => `::-p-aria([name="${name}"][role="button"])`;
  const figure = () =>
    page.$eval('[data-figure="selection"]', (part) => Number(part.dataset.value));
  const painted = () =>
    page.$eval('[data-testid="exclip-heat"]', (canvas) => {
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      return data.reduce((sum, value, i) => sum + (i % 4 === 3 ? value : 0), 0);
    });

  // A word, a region, both: each has its own number, and colours.
  async function select(word) {
    const whole = await figure();
    await (await page.waitForSelector(word)).click();
    await page.waitForSelector('[data-testid="exclip-word"][aria-pressed="true"]');
    const alone = await figure();
    assert.notEqual(alone, whole);
    assert.ok((await painted()) > 0);
    const box = await (await page.$('[data-testid="exclip-heat"]')).boundingBox();
    await page.mouse.move(box.x + 0.15 * box.width, box.y + 0.4 * box.height);
    await page.mouse.down();
    await page.mouse.move(box.x + 0.4 * box.width, box.y + 0.7 * box.height, { steps: 5 });
    await page.mouse.up();
    assert.notEqual(await figure(), alone);
    // Escape clears both.
    await page.keyboard.press("Escape");
    await page.waitForFunction(
      () => !document.querySelector('[aria-pressed="true"][data-testid="exclip-word"]'),
    );
    assert.equal(await figure(), whole);
  }
  await select(words("boat"));

  // A hint appears when the pointer rests, and Escape dismisses it.
  await (await page.waitForSelector(button("Lasso"))).hover();
  await page.waitForSelector(".exclip-tip:popover-open");
  await page.keyboard.press("Escape");
  await page.waitForFunction(() => !document.querySelector(".exclip-tip:popover-open"));

  // The caption, edited in place.
  await (await page.waitForSelector(button("Edit the caption"))).click();
  const field = await page.waitForSelector('[data-testid="exclip-field-caption"]');
  await field.evaluate((node) => {
    node.value = "";
  });
  await field.type("a small sun");
  await page.keyboard.press("Enter");
  await page.waitForSelector(words("sun"));
  await page.waitForSelector('[data-testid="exclip"][data-phase="done"]');

  // A layer, chosen with the keyboard on the browser's native slider.
  const slider = await page.waitForSelector('[data-testid="exclip-image_layer"]');
  const layer = () => slider.evaluate((node) => node.value);
  const before = await layer();
  await slider.focus();
  await page.keyboard.press("ArrowLeft");
  await page.waitForFunction((node, value) => node.value !== value, {}, slider, before);
  await page.waitForSelector('[data-testid="exclip"][data-phase="done"]');

  if (process.argv[2]) await page.screenshot({ path: process.argv[2], fullPage: true });

  if (process.argv[3]) {
    await page.goto(pathToFileURL(process.argv[3]).href);
    await page.waitForSelector('[data-testid="exclip"][data-phase="done"]');
    await select('button[data-testid="exclip-word"]');
  }
  assert.deepEqual(errors, []);
  console.log(`${await browser.version()}: words, regions, captions, layers and hints work`);
} finally {
  await browser.close();
  server.close();
}
