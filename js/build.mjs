// Builds the front end: one ES module and one style sheet, which anywidget
// loads as strings. Everything is bundled, since hosts have no CDN to rely on.
//
//   node js/build.mjs           build once, minified, and print the sizes
//   node js/build.mjs --watch   rebuild on every change
//   node js/build.mjs --dev     serve the development page (js/dev)
import { readFile, writeFile } from "node:fs/promises";
import { gzipSync } from "node:zlib";
import { build, context } from "esbuild";
import { minify } from "terser";

const STATIC = "exclip_widget/widget/static";

const options = {
  bundle: true,
  format: "esm",
  target: "es2022",
  banner: {
    js: "/* exclip-widget. Contains @preact/signals-core, (c) Preact Team. MIT licence, both. */",
  },
};

if (process.argv.includes("--dev")) {
  const server = await context({
    ...options,
    entryPoints: { dev: "js/dev/dev.ts", widget: "js/style.css" },
    outdir: "js/dev",
    write: false,
    sourcemap: "inline",
  });
  const { port } = await server.serve({ servedir: "js/dev", host: "127.0.0.1" });
  console.log(`http://127.0.0.1:${port}/`);
} else {
  const outputs = [
    { ...options, entryPoints: ["js/main.ts"], outfile: `${STATIC}/widget.js`, minify: true },
    {
      ...options,
      banner: {},
      entryPoints: ["js/style.css"],
      outfile: `${STATIC}/widget.css`,
      minify: true,
    },
  ];
  if (process.argv.includes("--watch")) {
    for (const output of outputs) await (await context({ ...output, logLevel: "info" })).watch();
  } else {
    for (const output of outputs) {
      await build(output);
      if (output.outfile.endsWith(".js")) {
        // Its names compress better than esbuild's: 5 % off what travels.
        const { code } = await minify(await readFile(output.outfile, "utf8"), {
          module: true,
          ecma: 2022,
          // As they are written, comparisons and statements compress better too.
          compress: { passes: 2, lhs_constants: false, sequences: false },
          format: { preamble: output.banner.js },
        });
        await writeFile(output.outfile, `${code}\n`);
      }
      const bytes = await readFile(output.outfile);
      const kib = (n) => `${(n / 1024).toFixed(1)} KiB`;
      console.log(`${output.outfile}  ${kib(bytes.length)}, gzip ${kib(gzipSync(bytes).length)}`);
    }
  }
}
