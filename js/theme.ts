/** Whether the host is dark right now. Each host says it its own way. */
import { type ReadonlySignal, signal } from "@preact/signals-core";

export type Theme = "light" | "dark";

function hostTheme(el: Element): Theme {
  // JupyterLab and Notebook
  const jupyter = document.body.dataset.jpThemeLight;
  if (jupyter !== undefined) return jupyter === "false" ? "dark" : "light";
  // VS Code
  const { classList } = document.body;
  if (classList.contains("vscode-light") || classList.contains("vscode-high-contrast-light")) {
    return "light";
  }
  if (classList.contains("vscode-dark") || classList.contains("vscode-high-contrast")) {
    return "dark";
  }
  // marimo, documentation pages; the host of a shadow root counts as its parent
  for (let node: Node | null = el; node; node = parentOf(node)) {
    if (!(node instanceof HTMLElement)) continue;
    const named = node.dataset.theme;
    if (named?.includes("dark") || node.classList.contains("dark")) return "dark";
    if (named?.includes("light") || node.classList.contains("light")) return "light";
  }
  return matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
}

function parentOf(node: Node): Node | null {
  return node instanceof ShadowRoot ? node.host : node.parentNode;
}

/** Follows the host's theme until `lifetime` ends. */
export function watchTheme(el: Element, lifetime: AbortSignal): ReadonlySignal<Theme> {
  const theme = signal(hostTheme(el));
  const update = () => {
    theme.value = hostTheme(el);
  };
  // Hosts swap themes live by an attribute of the page.
  const observer = new MutationObserver(update);
  for (const node of [document.documentElement, document.body]) {
    observer.observe(node, { attributes: true });
  }
  lifetime.addEventListener("abort", () => observer.disconnect());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", update, {
    signal: lifetime,
  });
  return theme;
}
