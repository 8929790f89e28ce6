// The little that is needed to make elements without a framework.

type Child = Node | string | null;
type Attributes = Readonly<Record<string, string | boolean | number | ((event: Event) => void) | null>>;

/** An element with attributes (functions become listeners, `true` an empty attribute, `null` and `false` none). */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null) element.setAttribute(name, String(value));
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** Sets text only when it differs: the page is refreshed often, and screen readers announce every change. */
export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** Sets or removes an attribute only when it differs. */
export function setAttribute(element: Element, name: string, value: string | null): void {
  if (element.getAttribute(name) === value) return;
  if (value === null) element.removeAttribute(name);
  else element.setAttribute(name, value);
}

/** Shows or hides. */
export function show(element: HTMLElement, shown: boolean): void {
  if (element.hidden === shown) element.hidden = !shown;
}

const SVG = "http://www.w3.org/2000/svg";

const ICONS = {
  menu: "M4 7h16M4 12h16M4 17h16",
  close: "M6 6l12 12M18 6L6 18",
  fullscreen: "M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5",
  keyboard: "M3 7.5A1.5 1.5 0 0 1 4.5 6h15A1.5 1.5 0 0 1 21 7.5v9a1.5 1.5 0 0 1-1.5 1.5h-15A1.5 1.5 0 0 1 3 16.5zM7 10h.01M10.500 10h.01M14 10h.01M17 10h.01M8 14h8",
  stats: "M4 19V10M10 19V5M16 19v-6M21 19H3",
  pointer: "M6 4l12 7-5.200 1.400L10 18z",
  lock: "M12 3v3M12 18v3M3 12h3M18 12h3M12 9.500a2.500 2.500 0 1 0 0 5 2.500 2.500 0 0 0 0-5z",
  people: "M9 11a3 3 0 1 0 0-6 3 3 0 0 0 0 6zM3.500 19c.4-3 2.600-5 5.500-5s5.100 2 5.500 5M16 5.300a3 3 0 0 1 0 5.400M17.500 14.400c1.700.8 2.800 2.500 3 4.600",
  clock: "M12 3.500a8.500 8.500 0 1 0 0 17 8.500 8.500 0 0 0 0-17zM12 7.500V12l3 2",
  key: "M8.500 10.500a5 5 0 1 0 0 10 5 5 0 0 0 0-10zM12 12l8.500-8.500M16.500 7.500l3 3",
  leave: "M14 4h4.500A1.500 1.500 0 0 1 20 5.500v13a1.500 1.500 0 0 1-1.500 1.500H14M10 8l-4 4 4 4M6 12h9",
} as const;

export type Icon = keyof typeof ICONS;

/** A line icon of 20 px that takes the text's colour. */
export function icon(name: Icon): SVGElement {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/** The product's mark. */
export function logo(): SVGElement {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 32 32");
  svg.setAttribute("class", "logo");
  svg.setAttribute("aria-hidden", "true");
  for (const [d, cls] of [
    ["M7 4h18a4 4 0 0 1 4 4v14a4 4 0 0 1-4 4H7a4 4 0 0 1-4-4V8a4 4 0 0 1 4-4z", "logo-frame"],
    ["M10 21v-5a6 6 0 0 1 12 0v5z", "logo-gate"],
  ] as const) {
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("d", d);
    path.setAttribute("class", cls);
    svg.append(path);
  }
  return svg;
}
