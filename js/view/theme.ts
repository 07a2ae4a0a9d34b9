/** Whether the host's theme is dark right now. Each host signals it in its own way. */
import { type ReadonlySignal, signal } from "@preact/signals-core";
import type { Scope } from "../ui/scope.ts";

export type Theme = "light" | "dark";

const systemDark = matchMedia("(prefers-color-scheme: dark)");
/** High contrast, in which the system's colours take the place of the host's. */
const forced = matchMedia("(forced-colors: active)");

function hostTheme(el: Element): Theme {
  const system = systemDark.matches ? "dark" : "light";
  if (forced.matches) return system;
  // JupyterLab and Notebook
  const jupyter = document.body.dataset.jpThemeLight;
  if (jupyter !== undefined) return jupyter === "false" ? "dark" : "light";
  // VS Code
  const code = (name: string) => document.body.classList.contains(`vscode-${name}`);
  if (code("light") || code("high-contrast-light")) return "light";
  if (code("dark") || code("high-contrast")) return "dark";
  // marimo, documentation pages, Colab (`theme`); the host of a shadow root counts as its parent
  for (let node: Node | null = el; node; node = parentOf(node)) {
    if (!(node instanceof HTMLElement)) continue;
    for (const name of ["dark", "light"] as const) {
      const named = `${node.dataset.theme} ${node.getAttribute("theme")}`;
      if (named.includes(name) || node.classList.contains(name)) return name;
    }
  }
  return system;
}

/** Return the next node to look at; what is not on the page yet will be somewhere in it. */
function parentOf(node: Node): Node | null {
  if (node === document) return null;
  return node instanceof ShadowRoot ? node.host : (node.parentNode ?? document.documentElement);
}

/** Follow the host's theme for as long as `scope` lives. */
export function watchTheme(el: Element, scope: Scope): ReadonlySignal<Theme> {
  const theme = signal(hostTheme(el));
  const update = () => {
    theme.value = hostTheme(el);
  };
  // Hosts switch themes live by changing an attribute of the page.
  const observer = new MutationObserver(update);
  for (const node of [document.documentElement, document.body]) {
    observer.observe(node, { attributes: true });
  }
  // Hosts may put it on the page only after it was rendered.
  const attached = new ResizeObserver(update);
  attached.observe(el);
  scope.onEnd(() => {
    observer.disconnect();
    attached.disconnect();
  });
  for (const query of [systemDark, forced]) scope.on(query, "change", update);
  return theme;
}
