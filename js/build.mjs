// Builds the front end: one ES module and one style sheet for each widget, which
// anywidget loads as strings. Everything is bundled, since hosts have no CDN to rely on.
// Also builds a pair of its own for written pages, into which Python inlines both.
//
//   node js/build.mjs           build once, minified, and check the size
//   node js/build.mjs --watch   rebuild on every change
//   node js/build.mjs --dev     serve the development page (js/dev)
import { readFile } from "node:fs/promises";
import { gzipSync } from "node:zlib";
import { build, createServer } from "vite";

const STATIC = "exclip_widget/widget/static";
/** The most bytes that a page may load: script and styles together, compressed with `gzip -9`. */
const MOST_BYTES = { widget: 30_750, captions: 32_550, gallery: 38_000 };

/**
 * Names of our own properties, which the bundles shorten. They must not be part of the
 * protocol, of elements or of styles, or be spelled in a string, which `check` refuses.
 */
const OWN_NAMES = `
  abandoned answer answering askAgain before catchUp changed choices chosen clearTests cls column
  cover cursor dispose draw effect ends expire extend foilOnly follow forget gap goTo hasFoil
  hasQuestions heard heatLock heatScale ink interactions invert isCatchingUp isComputing isTesting
  isWaiting keep layers lock locked look lookAt missed mode moved names node notice number onChange
  onEnd outliersHidden pairs palette parts peek pieces plan point pointed press preview problem
  questions read receive report select selected selectedRegion selectedTokens selectRegion
  selectTokens sent settings settle shape shapeOf show silent smooth spoken stale strength subscribe
  summands summary summed tests texts tintLock tintScale units unlocked unwatched watched
`;
const OWN = OWN_NAMES.trim().split(/\s+/).join("|");

const shared = { configFile: false, logLevel: "warn", publicDir: false };

if (process.argv.includes("--dev")) {
  const server = await createServer({ ...shared, server: { host: "127.0.0.1" } });
  await server.listen();
  console.log(`${server.resolvedUrls?.local[0]}js/dev/`);
} else {
  const watch = process.argv.includes("--watch") ? {} : null;
  // Each by itself, so that none loads parts of another.
  await bundle("widget", { widget: "js/main.ts", style: "js/style.css" }, watch);
  await bundle("captions", { captions: "js/captions.ts", style: "js/captions.css" }, watch);
  await bundle("gallery", { gallery: "js/gallery.ts", style: "js/gallery.css" }, watch);
  await bundle("page", { page: "js/page.ts", style: "js/page.css" }, watch);
  if (!watch) await check();
}

/** Bundle a script and a style sheet into `name.js` and `name.css`. */
async function bundle(name, inputs, watch) {
  // One at a time: names are shortened only in a build of a single file.
  for (const input of Object.entries(inputs)) {
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
          input: Object.fromEntries([input]),
          // Nothing imports the module here, but its export has to stay: hosts use it.
          preserveEntrySignatures: "strict",
          output: {
            entryFileNames: "[name].js",
            assetFileNames: `${name}[extname]`,
            // gzip packs statements better than sequences.
            minify: {
              compress: { sequences: false },
              mangleProps: { include: new RegExp(`^(${OWN})$`) },
            },
          },
        },
      },
    });
  }
}

async function check() {
  for (const [widget, most] of Object.entries(MOST_BYTES)) {
    let sum = 0;
    for (const name of [`${widget}.js`, `${widget}.css`]) {
      const bytes = await readFile(`${STATIC}/${name}`);
      const packed = gzipSync(bytes, { level: 9 }).length;
      sum += packed;
      console.log(`${STATIC}/${name}  ${bytes.length} bytes, gzip -9 ${packed}`);
    }
    console.log(`together ${sum} of ${most} bytes`);
    if (sum > most) throw new Error(`The ${widget} is too large; see MOST_BYTES.`);
  }
  for (const name of ["widget", "captions", "gallery", "page"]) {
    const code = await readFile(`${STATIC}/${name}.js`, "utf8");
    // A property that is read by a string would not be found: it has a shorter name now.
    const spelled = code.match(new RegExp(`["'\`](${OWN})["'\`]`));
    if (spelled) throw new Error(`${name}.js spells ${spelled[0]}; take it out of OWN_NAMES.`);
  }
  const page = `${await readFile(`${STATIC}/page.js`)}${await readFile(`${STATIC}/page.css`)}`;
  if (/<\/(script|style)|<!--/i.test(page)) throw new Error("The page would end its own elements.");
}
