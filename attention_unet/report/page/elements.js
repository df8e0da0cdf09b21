"use strict";
// Make elements of the page and format numbers. Text is added only as text nodes, so that a name is never read as markup.

const report = JSON.parse(document.getElementById("facts").textContent);

function element(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

function drawing(tag, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function fill(target, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) target.addEventListener(name.slice(2), value);
    else if (value === true) target.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) target.setAttribute(name, value);
  }
  target.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return target;
}

// Add a section to the page and to its table of contents.
function section(id, heading, ...children) {
  document.getElementById("contents").append(element("a", { href: `#${id}` }, heading));
  const added = element("section", { id, "aria-labelledby": `${id}-heading` },
    element("h2", { id: `${id}-heading` }, heading), ...children);
  document.getElementById("main").append(added);
  return added;
}

// Draw one part of the page. If it fails, for example on a damaged file, the other parts are still drawn.
function attempt(part) {
  try {
    part();
  } catch (error) {
    document.getElementById("main").append(element("p", { class: "warning" }, `A part of this page cannot be drawn: ${error.message}`));
  }
}

function select(label, options, onchange, id) {
  const list = element("select", { id, onchange: () => onchange(list.value) },
    options.map(({ value, text }) => element("option", { value }, text)));
  return element("label", { class: "control" }, element("span", {}, label), list);
}

function swatch(colour) {
  const square = element("span", { class: "swatch", "aria-hidden": "true" });
  square.style.background = colour;
  return square;
}

// Read a number from JSON: null is NaN, "inf" is infinity.
function valueOf(plain) {
  if (plain === null || plain === undefined) return NaN;
  return plain === "inf" ? Infinity : plain;
}

function readable(value, digits) {
  if (Number.isNaN(value)) return "–";
  if (!Number.isFinite(value)) return "∞";
  return value.toFixed(digits).replace("-", "−");
}

function colourOf(index) {
  return report.colours[index % report.colours.length];
}

function quantile(sorted, share) {
  const position = (sorted.length - 1) * share, below = Math.floor(position);
  return sorted[below] + (sorted[Math.min(below + 1, sorted.length - 1)] - sorted[below]) * (position - below);
}

function counted(number, singular, plural) {
  return `${number} ${number === 1 ? singular : plural}`;
}
