/** An element with its class, attributes and children; text is always text, never HTML. */
export function element<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  className: string,
  attributes: Record<string, string> = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[Tag] {
  const node = document.createElement(tag);
  node.className = className;
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/** A drawing of one path in a box of that size, in the colour of the text around it. */
export function drawing(className: string, d: string, width = 16, height = 16): SVGSVGElement {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("class", className);
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(space, "path");
  path.setAttribute("d", d);
  svg.append(path);
  return svg;
}

/** Adds listeners to `node` that end with `lifetime`. */
export function listenerOf(node: HTMLElement, lifetime: AbortSignal) {
  return <Type extends keyof HTMLElementEventMap>(
    type: Type,
    listener: (event: HTMLElementEventMap[Type]) => void,
  ): void => node.addEventListener(type, listener, { signal: lifetime });
}

/** Ends every effect with `lifetime`. */
export function until(lifetime: AbortSignal, ...stops: (() => void)[]): void {
  lifetime.addEventListener("abort", () => {
    for (const stop of stops) stop();
  });
}
