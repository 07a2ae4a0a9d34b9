/** Messages that are on the screen only at times. */
import { element, write } from "./dom.ts";

export const NO_KERNEL = "This needs a running kernel";

/** Create a place for a message, hidden while there is none. */
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
      // Screen readers read an alert again each time it is written.
      write(node, text ?? "");
    },
  };
}

/** Create the place that says why something was refused, next to where it was asked for. */
export const refusal = (testid: string) =>
  message("exclip-refused", "alert", `exclip-refused-${testid}`);
