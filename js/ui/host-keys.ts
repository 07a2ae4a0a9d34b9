/** Which keys are the host's while the focus is in the widget: only those that save. */
import { give } from "./dom.ts";
import type { Scope } from "./scope.ts";

/** Without it, JupyterLab takes keys for its own commands: X cuts the cell, arrows never reach a slider. */
const KEEPS_KEYS = "data-lm-suppress-shortcuts";

const keep = (node: Element) => give(node, { [KEEPS_KEYS]: true });

/** Saving is left to the notebook; otherwise the browser would save the page. */
export const isSaving = ({ key, ctrlKey, metaKey }: KeyboardEvent) =>
  key.toLowerCase() === "s" && (ctrlKey || metaKey);

/** Keep all other keys from the host. */
export function keepKeys(root: HTMLElement, scope: Scope): void {
  keep(root);
  // JupyterLab checks the element that has the focus before those around it.
  scope.on(root, "focusin", ({ target }) => keep(target as Element));
  scope.on(root, "keydown", (event) => {
    if (!isSaving(event)) return;
    const nodes = [root, ...root.querySelectorAll(`[${KEEPS_KEYS}]`)];
    for (const node of nodes) node.removeAttribute(KEEPS_KEYS);
    setTimeout(() => nodes.forEach(keep));
  });
}
