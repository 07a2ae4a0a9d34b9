/** Words that are on the screen only at times. */
import { element } from "./dom.ts";

export const NO_KERNEL = "This needs a running kernel";

/** A place for words that are there only at times. */
export function message(
  className: string,
  role: "alert" | "status",
  testid = className,
): { node: HTMLElement; show(text: string | null | undefined): void } {
  const node = element("div", className, { "data-testid": testid, role });
  return {
    node,
    show(text) {
      node.hidden = !text;
      node.textContent = text ?? "";
    },
  };
}

/** Why something was refused, where it happened. */
export const refusal = (testid: string) =>
  message("exclip-refused", "alert", `exclip-refused-${testid}`);
