// Draw charts as SVG in the colours of the page.

function ticksBetween(low, high, count) {
  const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((by) => by * power).find((by) => by >= rough);
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  const ticks = [];
  for (let tick = Math.ceil(low / step - 1e-9) * step; tick <= high + step * 1e-9; tick += step)
    ticks.push({ at: tick, text: readable(Math.abs(tick) < step / 1e6 ? 0 : tick, digits) });
  return ticks;
}

// Draw an empty chart with a grid; return it with functions from values to positions. Without xLabel, x has no grid.
function axes({ width, height, x, y, xLabel, yLabel, label }) {
  const left = 68, right = 14, top = 12, bottom = xLabel ? 44 : 34;
  const chart = drawing("svg", { viewBox: `0 0 ${width} ${height}`, class: "chart", role: "img", "aria-label": label });
  const atX = (value) => left + ((value - x[0]) / (x[1] - x[0])) * (width - left - right);
  const atY = (value) => height - bottom - ((value - y[0]) / (y[1] - y[0])) * (height - top - bottom);
  for (const { at, text } of ticksBetween(y[0], y[1], 5)) {
    chart.append(drawing("line", { x1: left, x2: width - right, y1: atY(at), y2: atY(at), class: "grid" }),
      drawing("text", { x: left - 7, y: atY(at), class: "tick", "text-anchor": "end", dy: "0.32em" }, text));
  }
  if (xLabel) {
    for (const { at, text } of ticksBetween(x[0], x[1], 6)) {
      chart.append(drawing("line", { x1: atX(at), x2: atX(at), y1: top, y2: height - bottom, class: "grid" }),
        drawing("text", { x: atX(at), y: height - bottom + 16, class: "tick", "text-anchor": "middle" }, text));
    }
    chart.append(drawing("text", { x: (left + width - right) / 2, y: height - 6, class: "name", "text-anchor": "middle" }, xLabel));
  }
  const middle = (top + height - bottom) / 2;
  chart.append(drawing("text", { x: 14, y: middle, class: "name", "text-anchor": "middle", transform: `rotate(-90 14 ${middle})` }, yLabel));
  return { chart, atX, atY, baseline: height - bottom };
}

// Return the ends of an axis: the lowest and the highest of any number of values (Math.min(...values) fails from about
// 100,000), and a share of their distance on both sides.
function span(values, padding) {
  const [low, high] = values.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);
  const room = (high - low || Math.abs(high) || 1) * padding;
  return [low - room, high + room];
}

// Draw lines through points [x, y]. The legend has the name and the last value of each line.
function lineChart({ label, xLabel, yLabel, series, digits, y, diagonal }) {
  const points = series.flatMap((line) => line.points);
  const xs = points.map((point) => point[0]), ys = points.map((point) => point[1]);
  const range = y || span(ys, 0.06), domain = y && diagonal ? y : span(xs, 0.02);
  const { chart, atX, atY } = axes({ width: 460, height: 280, x: domain, y: range, xLabel, yLabel, label });
  if (diagonal) chart.append(drawing("line", { x1: atX(0), y1: atY(0), x2: atX(1), y2: atY(1), class: "diagonal" }));
  const legend = element("ul", { class: "legend" });
  for (const { name, colour, points: line } of series) {
    chart.append(drawing("polyline", { points: line.map(([a, b]) => `${atX(a)},${atY(b)}`).join(" "), class: "line", stroke: colour }));
    for (const [a, b] of line)
      chart.append(drawing("circle", { cx: atX(a), cy: atY(b), r: 2.6, fill: colour },
        drawing("title", {}, `${name ? `${name}, ` : ""}${xLabel} ${readable(a, 3)}: ${readable(b, digits)}`)));
    if (name) legend.append(element("li", {}, swatch(colour), diagonal ? name : `${name} ${readable(line[line.length - 1][1], digits)}`));
  }
  return element("figure", {}, chart, legend);
}

// Draw a column of dots per group, with median and quartiles. A dot is a case. Values that are not finite are counted on top.
function dotChart({ label, yLabel, groups, digits, onpick }) {
  const finite = groups.flatMap((group) => group.values.map((point) => point.value).filter(Number.isFinite));
  if (!finite.length) return element("p", { class: "muted" }, "Not defined for any case.");
  const width = Math.max(420, 72 + groups.length * 104);
  const { chart, atX, atY, baseline } = axes({ width, height: 320, x: [0, groups.length], y: span(finite, 0.06), yLabel, label });
  groups.forEach((group, column) => {
    const middle = atX(column + 0.5), values = group.values.filter((point) => Number.isFinite(point.value));
    const sorted = values.map((point) => point.value).sort((a, b) => a - b);
    if (sorted.length) {
      const [lower, median, upper] = [0.25, 0.5, 0.75].map((share) => atY(quantile(sorted, share)));
      chart.append(drawing("rect", { x: middle - 26, width: 52, y: upper, height: Math.max(lower - upper, 0.5), class: "box" }),
        drawing("line", { x1: middle - 26, x2: middle + 26, y1: median, y2: median, class: "median" }));
    }
    values.forEach((point, i) => {
      const offset = (((i * 0.618034) % 1) - 0.5) * 44;
      chart.append(drawing("circle", { cx: middle + offset, cy: atY(point.value), r: 3.4, class: "dot", fill: group.colour || "currentColor", onclick: () => onpick(point.case) },
        drawing("title", {}, `${point.case}: ${readable(point.value, digits)}`)));
    });
    const excluded = group.values.length - values.length;
    chart.append(drawing("text", { x: middle, y: baseline + 17, class: "tick", "text-anchor": "middle" },
      group.name.length > 16 ? `${group.name.slice(0, 15)}…` : group.name, drawing("title", {}, group.name)));
    if (excluded) chart.append(drawing("text", { x: middle, y: 10, class: "tick", "text-anchor": "middle" }, `${excluded} not finite`));
  });
  return element("figure", { class: "wide" }, chart);
}
