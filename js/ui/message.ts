/** Small parts that everything which asks is made of. */
import { element, give } from "./dom.ts";
import type { Scope } from "./scope.ts";

export const NO_KERNEL = "Asking needs a running kernel";

export function textButton(
  text: string,
  testid: string,
  scope: Scope,
  act: () => void,
): HTMLButtonElement {
  const node = element(
    "button",
    "exclip-tool exclip-text",
    { type: "button", "data-testid": testid },
    text,
  );
  scope.on(node, "click", act);
  return node;
}

/**
 * Whether a button does anything now, and what, or why not. Not `disabled`: a
 * button that has the focus should not lose it. `mount` keeps its clicks away.
 */
export function enable(node: HTMLElement, able: boolean, hint: string): void {
  give(node, { "aria-disabled": !able });
  node.dataset.hint = hint;
}

/** A place for words that are there only at times. */
export function saying(
  className: string,
  role: "alert" | "status",
  testid = className,
): { node: HTMLElement; say(text: string | null | undefined): void } {
  const node = element("div", className, { "data-testid": testid, role });
  return {
    node,
    say(text) {
      node.hidden = !text;
      node.textContent = text ?? "";
    },
  };
}

/** Why something was refused, where it happened. */
export const refusal = (testid: string) =>
  saying("exclip-refused", "alert", `exclip-refused-${testid}`);
