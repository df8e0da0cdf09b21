"use strict";
// Elements of the page, and numbers as people read them. Text enters the page by textContent alone: a name is no markup.

const report = JSON.parse(document.getElementById("facts").textContent);

function element(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

function drawing(tag, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function fill(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

// A section of the page, listed in its contents.
function section(id, heading, ...children) {
  document.getElementById("contents").append(element("a", { href: `#${id}` }, heading));
  const made = element("section", { id, "aria-labelledby": `${id}-heading` },
    element("h2", { id: `${id}-heading` }, heading), ...children);
  document.getElementById("main").append(made);
  return made;
}

function select(label, options, onchange) {
  const made = element("select", { onchange: () => onchange(made.value) },
    options.map(({ value, text }) => element("option", { value }, text)));
  return element("label", { class: "control" }, element("span", {}, label), made);
}

function swatch(colour) {
  const made = element("span", { class: "swatch", "aria-hidden": "true" });
  made.style.background = colour;
  return made;
}

// What JSON cannot hold: null is not defined, "inf" the distance to nothing.
function valueOf(told) {
  if (told === null || told === undefined) return NaN;
  return told === "inf" ? Infinity : told;
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
  const place = (sorted.length - 1) * share, below = Math.floor(place);
  return sorted[below] + (sorted[Math.min(below + 1, sorted.length - 1)] - sorted[below]) * (place - below);
}
