/** Keys and clicks of the whole widget: Esc clears the selection, and the host gets only its own keys. */
import type { WidgetState } from "../state/widget-state.ts";
import { claim, give } from "../ui/dom.ts";
import type { Scope } from "../ui/scope.ts";

/** Without it, JupyterLab takes keys for its own commands: X cuts the cell, arrows never reach a slider. */
const KEEPS_KEYS = "data-lm-suppress-shortcuts";

const keep = (node: Element) => give(node, { [KEEPS_KEYS]: true });

export function keepKeys(root: HTMLElement, state: WidgetState, scope: Scope): void {
  keep(root);
  // JupyterLab checks the element that has the focus before those around it.
  scope.on(root, "focusin", ({ target }) => keep(target as Element));
  scope.on(root, "keydown", ({ target, key, ctrlKey, metaKey }) => {
    if (key !== "s" || !(ctrlKey || metaKey)) return;
    // Leave saving to the notebook; otherwise the browser would save the page.
    const nodes = [root, target as Element];
    for (const node of nodes) node.removeAttribute(KEEPS_KEYS);
    setTimeout(() => nodes.forEach(keep));
  });
  scope.on(root, "keydown", (event) => {
    if (event.key !== "Escape") return;
    const tokens = state.selectedTokens.peek().length > 0;
    const region = state.selectedRegion.peek().length > 0;
    if (!tokens && !region) return;
    claim(event);
    if (tokens) state.selectTokens([]);
    if (region) state.selectRegion([]);
  });
  const ignoreDisabled = (event: Event) => {
    if ((event.target as Element).closest('[aria-disabled="true"]')) event.stopPropagation();
  };
  scope.on(root, "click", ignoreDisabled, true);
}
