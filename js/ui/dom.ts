/** Elements, text and drawings. */
type Attributes = Record<string, string | number | boolean>;

/** Create an element with its class, attributes and children; text is always text, never HTML. */
export function element<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  className: string,
  ...parts: (Attributes | Node | string)[]
): HTMLElementTagNameMap[Tag] {
  const node = document.createElement(tag);
  node.className = className;
  for (const part of parts) {
    if (typeof part === "string" || part instanceof Node) node.append(part);
    else give(node, part);
  }
  return node;
}

/** Create a button with its class, attributes and children. */
export const button = (className: string, ...parts: (Attributes | Node | string)[]) =>
  element("button", className, { type: "button" }, ...parts);

/** Create a `div` with its class and children. */
export const box = (className: string, ...children: (Node | string)[]) =>
  element("div", className, ...children);

/** Create a part of the screen with a role, a name, and its class, by which tests find it. */
export const panel = (
  className: string,
  role: string,
  label: string,
  ...children: (Attributes | Node | string)[]
) =>
  element("div", className, { "data-testid": className, role, "aria-label": label }, ...children);

export function give<Node extends Element>(node: Node, attributes: Attributes): Node {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, String(value));
  return node;
}

/** Refer to another element in an attribute that takes its id, such as `aria-describedby` or `list`. */
export function link(node: Element, attribute: string, to: Element): void {
  // Ids are global to the page, which may contain several widgets.
  to.id ||= `exclip-${Math.random().toString(36).slice(2)}`;
  give(node, { [attribute]: to.id });
}

/** Set the text, unless it is there already: setting it causes a new layout. */
export function write(node: Element, text: string): void {
  if (node.textContent !== text) node.textContent = text;
}

/**
 * Replace what a node contains. If a stop of the focus in it had the focus, the new one with the same key
 * gets it, or else the last one: otherwise it would fall to the page. A key is the place unless given.
 */
export function refill(
  node: Element,
  content: readonly (Node | string)[],
  keyOf: (stop: HTMLElement, place: number) => unknown = (_, place) => place,
): void {
  const stops = () => [...node.querySelectorAll<HTMLElement>("button, [tabindex]")];
  const old = stops();
  const place = old.findIndex((stop) => stop.matches(":focus")); // in a shadow root, too
  const focused = old[place];
  const key = focused && keyOf(focused, place);
  // Browsers do not agree on whether the removal of the focused element is an event.
  focused?.blur();
  node.replaceChildren(...content);
  if (!focused) return;
  const now = stops();
  const heir = now.find((stop, at) => keyOf(stop, at) === key) ?? now.at(-1);
  heir?.focus({ preventScroll: true });
}

/** Create a part of a drawing. */
export function shape<Tag extends keyof SVGElementTagNameMap>(
  tag: Tag,
  attributes: Attributes,
): SVGElementTagNameMap[Tag] {
  return give(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes);
}

/** Create a drawing of one path in a box of that size, in the colour of the text around it. */
export function drawing(className: string, d: string, width = 16, height = 16): SVGSVGElement {
  const viewBox = `0 0 ${width} ${height}`;
  const svg = shape("svg", { class: className, viewBox, "aria-hidden": "true" });
  svg.append(shape("path", { d }));
  return svg;
}

/** Keep an event from anything else that would act on it, such as the host or the browser. */
export function claim(event: Event): void {
  event.preventDefault();
  event.stopPropagation();
}
