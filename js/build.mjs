// Builds the front end: one ES module and one style sheet, which anywidget
// loads as strings. Everything is bundled, since hosts have no CDN to rely on.
// The same with a list of captions, which only widgets with several load; and
// for a page of its own, which Python writes both into.
//
//   node js/build.mjs           build once, minified, and check the size
//   node js/build.mjs --watch   rebuild on every change
//   node js/build.mjs --dev     serve the development page (js/dev)
import { readFile } from "node:fs/promises";
import { gzipSync } from "node:zlib";
import { build, createServer } from "vite";

const STATIC = "exclip_widget/widget/static";
/** What may travel to a page, with a list of captions or without: script and styles, as `gzip -9` packs them. */
const MOST_BYTES = { widget: 30_000, captions: 32_000 };

const shared = { configFile: false, logLevel: "warn", publicDir: false };

if (process.argv.includes("--dev")) {
  const server = await createServer({ ...shared, server: { host: "127.0.0.1" } });
  await server.listen();
  console.log(`${server.resolvedUrls?.local[0]}js/dev/`);
} else {
  const watch = process.argv.includes("--watch") ? {} : null;
  // Each by itself, so that neither loads parts of the other.
  await bundle("widget", { widget: "js/main.ts", style: "js/style.css" }, watch);
  await bundle("captions", { captions: "js/captions.ts", style: "js/captions.css" }, watch);
  await bundle("page", { page: "js/page.ts", style: "js/page.css" }, watch);
  if (!watch) await check();
}

/** Bundle a script and a style sheet into `name.js` and `name.css`. */
async function bundle(name, input, watch) {
  await build({
    ...shared,
    build: {
      outDir: STATIC,
      emptyOutDir: false,
      target: "es2022",
      cssTarget: "es2022",
      watch,
      modulePreload: false,
      rolldownOptions: {
        input,
        // Nothing else imports the module: its export is what it is for.
        preserveEntrySignatures: "strict",
        output: {
          entryFileNames: "[name].js",
          assetFileNames: `${name}[extname]`,
        },
      },
    },
  });
}

async function check() {
  for (const [name, most] of Object.entries(MOST_BYTES)) {
    let sum = 0;
    for (const file of [`${name}.js`, `${name}.css`]) {
      const bytes = await readFile(`${STATIC}/${file}`);
      const packed = gzipSync(bytes, { level: 9 }).length;
      sum += packed;
      console.log(`${STATIC}/${file}  ${bytes.length} bytes, gzip -9 ${packed}`);
    }
    console.log(`together ${sum} of ${most} bytes`);
    if (sum > most) throw new Error("The front end is too large; see MOST_BYTES.");
  }
  const page = `${await readFile(`${STATIC}/page.js`)}${await readFile(`${STATIC}/page.css`)}`;
  if (/<\/(script|style)|<!--/i.test(page)) throw new Error("The page would end its own elements.");
}
