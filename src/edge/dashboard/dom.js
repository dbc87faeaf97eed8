// Elements, made without a line of HTML: what an episode says can never become markup.

const SVG = "http://www.w3.org/2000/svg";

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") {
      for (const [event, heard] of Object.entries(value)) element.addEventListener(event, heard);
    } else if (value !== undefined && value !== false) {
      element.setAttribute(name, value === true ? "" : value);
    }
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export const find = (id) => document.getElementById(id);
export const make = (tag, attributes = {}, ...children) =>
  filled(document.createElement(tag), attributes, children);
export const draw = (tag, attributes = {}, ...children) =>
  filled(document.createElementNS(SVG, tag), attributes, children);

/** A bar that is full by a share, and says so to those who do not see it. */
export function bar(share, label, level = "") {
  const inside = make("i");
  inside.style.width = `${Math.min(Math.max(share, 0), 1) * 100}%`;
  const attributes = {
    class: `bar ${level}`,
    role: "meter",
    "aria-label": label,
    "aria-valuemin": 0,
    "aria-valuemax": 100,
    "aria-valuenow": Math.round(share * 100),
  };
  return make("div", attributes, inside);
}

/** How alarming a share of something bounded is. */
export const level = (share) => (share >= 0.95 ? "bad" : share >= 0.8 ? "warn" : "");

/** A table's content: heads, then rows whose first cell names them. */
export function fillTable(table, heads, rows) {
  const cell = (content, tag, attributes) =>
    content instanceof Element && ["TD", "TH"].includes(content.tagName)
      ? content
      : make(tag, attributes, ...[content].flat());
  const head = make("tr", {}, ...heads.map((text) => make("th", { scope: "col" }, text)));
  const body = rows.map(([name, ...cells]) => {
    const named = cell(name, "th", { scope: "row" });
    const others = cells.map((content) => cell(content, "td", {}));
    others.forEach((other, nth) => other.setAttribute("data-head", heads[nth + 1]));
    return make("tr", {}, named, ...others);
  });
  table.replaceChildren(make("thead", {}, head), make("tbody", {}, ...body));
}
