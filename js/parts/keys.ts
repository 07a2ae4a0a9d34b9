/** Keys of the whole widget: Esc clears the selection. */
import type { WidgetState } from "../state/widget-state.ts";
import { claim } from "../ui/dom.ts";
import type { Scope } from "../ui/scope.ts";

export function clearWithEscape(root: HTMLElement, state: WidgetState, scope: Scope): void {
  scope.on(root, "keydown", (event) => {
    if (event.key !== "Escape") return;
    const tokens = state.selectedTokens.peek().length > 0;
    const region = state.selectedRegion.peek().length > 0;
    if (!tokens && !region) return;
    claim(event);
    if (tokens) state.selectTokens([]);
    if (region) state.selectRegion([]);
  });
}
