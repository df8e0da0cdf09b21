// Scores: the summary by class, how the cases are spread, and the table of cases.

const scores = report.scores;

function metricNamed(name) {
  return scores.metrics.find((metric) => metric.name === name);
}

// Classes, and all of them as one where there are several.
function groupsOf() {
  return scores.foreground ? [...scores.classes, { name: scores.foreground, colour: null }] : scores.classes;
}

function scoreOf(one, group, metric) {
  return valueOf(one.scores[group.name]?.[metric]);
}

function summaryTable() {
  const { summary } = scores;
  const cell = (of, { digits }) => {
    const infinite = of?.n_infinite ? `infinite in ${of.n_infinite}: missed or invented` : "";
    if (infinite) return element("td", {}, "∞", element("small", {}, infinite), of.finite_mean === null ? null : element("small", {}, `others ${readable(of.finite_mean, digits)}`));
    if (!of || of.mean === null) return element("td", {}, "–", of?.n_undefined ? element("small", {}, `${of.n_undefined} not defined`) : null);
    const sure = of.ci95 ? `${readable(of.ci95[0], digits)} to ${readable(of.ci95[1], digits)}` : null;
    const lost = of.n_undefined ? `${of.n_undefined} not defined` : "";
    return element("td", {}, readable(of.mean, digits),
      of.sd === null ? null : element("small", {}, `± ${readable(of.sd, digits)}`), sure ? element("small", {}, sure) : null, element("small", {}, `median ${readable(of.median, digits)}`), lost ? element("small", {}, lost) : null);
  };
  const row = (name, colour, of) => element("tr", {},
    element("th", { scope: "row" }, colour ? swatch(colour) : null, name), scores.metrics.map((metric) => cell(of?.[metric.name], metric)));
  const mean = element("tr", { class: "mean" }, element("th", { scope: "row" }, "mean of classes"), scores.metrics.map((metric) => {
    const whole = summary.mean_of_classes[metric.name];
    return whole ? cell(whole, metric) : element("td", {}, readable(valueOf(summary.foreground_mean[metric.name]), metric.digits));
  }));
  return element("div", { class: "scroll tall", tabindex: 0, role: "region", "aria-label": "Summary" }, element("table", { id: "summary-table" },
    element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "Class"),
      scores.metrics.map(({ heading, meaning }) => element("th", { scope: "col", title: meaning }, heading)))),
    element("tbody", {}, scores.classes.map(({ name, colour }) => row(name, colour, summary.classes[name])),
      scores.classes.length > 1 ? mean : null, summary.foreground ? row(scores.foreground, null, summary.foreground) : null)));
}

function showSummary() {
  const { summary } = scores, failed = Object.entries(summary.failed).map(([name, reason]) => `${name}: ${reason}`);
  section("summary", "Summary", summaryTable(),
    element("p", { class: "muted" }, `Mean ± standard deviation over ${counted(summary.n_cases, "case", "cases")}; below it the 95 % interval of the mean over persons (Student's t), and the median. (foreground): all classes as one. `
      + `What is not defined enters no mean and is counted: ${summary.settings.undefined}. Tolerance of the NSD: ${summary.settings.tolerance_mm} mm.`),
    [...summary.remarks, ...failed].map((remark) => element("p", { class: "remark" }, remark)));
}

function showSpread(onpick) {
  const place = element("div", {});
  const draw = (name) => {
    const metric = metricNamed(name);
    place.replaceChildren(stripChart({
      label: `${metric.heading} of every case, by class`, yLabel: metric.heading, digits: metric.digits, onpick,
      groups: groupsOf().map((group) => ({
        name: group.name, colour: group.colour,
        values: scores.cases.map((one) => ({ case: one.case, value: scoreOf(one, group, name) })),
      })),
    }), element("p", { class: "muted" }, `${metric.heading}: ${metric.meaning}. A dot is a case: click it to look. Boxes: quartiles and median.`));
  };
  section("spread", "Spread over cases", metricSelect("spread-metric", draw), place);
  draw("dice");
}

function metricSelect(id, onchange) {
  const made = select("Metric", scores.metrics.map(({ name, heading }) => ({ value: name, text: heading })), onchange);
  made.lastChild.id = id;
  return made;
}

// Every case a row, the worst first in each column until it is turned round.
function showCases(onpick) {
  const table = element("table", { id: "case-table" });
  let metric = metricNamed("dice"), sorted = { column: 1, ascending: true };
  const columns = () => [
    { heading: "Case", of: (one) => one.case },
    { heading: "Mean Dice", digits: 3, of: (one) => valueOf(one.mean_dice) },
    ...groupsOf().map((group) => ({ heading: `${metric.heading}, ${group.name}`, digits: metric.digits, worstIsHigh: metric.lower_is_better, of: (one) => scoreOf(one, group, metric.name) })),
  ];
  const order = (a, b) => {
    if (typeof a === "string") return a.localeCompare(b, undefined, { numeric: true });
    return Number.isNaN(a) || Number.isNaN(b) ? 0 : a === b ? 0 : a - b;
  };
  const draw = () => {
    const shown = columns(), { column, ascending } = sorted;
    const heads = shown.map(({ heading }, i) => element("th", { scope: "col", "aria-sort": i !== column ? "none" : ascending ? "ascending" : "descending" },
      element("button", { type: "button", onclick: () => { sorted = { column: i, ascending: i === column ? !ascending : !shown[i].worstIsHigh }; draw(); table.querySelectorAll("th button")[i].focus(); } },
        heading, element("span", { class: "arrow", "aria-hidden": "true" }, i !== column ? "" : ascending ? "▲" : "▼"))));
    const lost = (one) => typeof shown[column].of(one) === "number" && Number.isNaN(shown[column].of(one));
    const rows = [...scores.cases].sort((a, b) => lost(a) - lost(b) || order(shown[column].of(a), shown[column].of(b)) * (ascending ? 1 : -1));
    table.replaceChildren(element("thead", {}, element("tr", {}, heads)), element("tbody", {}, rows.map((one) => element("tr", {},
      shown.map(({ of, digits }, i) => i ? element("td", {}, readable(of(one), digits)) : element("th", { scope: "row" }, caseButton(one.case, onpick)))))));
  };
  const chosen = metricSelect("table-metric", (name) => { metric = metricNamed(name); sorted = { column: 1, ascending: true }; draw(); });
  section("cases", "Cases", chosen, element("div", { class: "scroll tall", tabindex: 0, role: "region", "aria-label": "Cases" }, table));
  draw();
}

function caseButton(name, onpick) {
  if (report.shown[name]) return element("button", { type: "button", class: "link", onclick: () => onpick(name) }, name);
  return element("span", { title: report.failed[name] || "is not among the cases that this page holds the voxels of" }, name);
}

function showFocus() {
  if (!scores.attention.length) return;
  const head = ["Level", "Class", "Inside", "Outside", "AUC"], spread = (one) => Math.abs(one.inside - one.outside) < 0.01;
  section("attention-focus", "Where attention lies",
    element("div", { class: "scroll" }, element("table", { id: "focus-table" }, element("thead", {}, element("tr", {}, head.map((name) => element("th", { scope: "col" }, name)))),
      element("tbody", {}, scores.attention.map((one) => element("tr", {}, element("th", { scope: "row" }, `${one.level}`),
        element("td", {}, one.class), element("td", {}, readable(one.inside, 3)), element("td", {}, readable(one.outside, 3)), element("td", {}, readable(one.auc, 3))))))),
    element("p", { class: "muted" }, "Mean weight in the voxels of a class and in those of no class, over the cases; level 0 is the finest. "
      + "AUC: how likely a voxel of the class has the higher weight of two; 1 tells them apart, 0.5 does not, below that the class is held back. "
      + (scores.attention.every(spread) ? "Here the weights are about the same everywhere: they choose among channels or are still open. " : "")
      + "Weights show where features pass, not why the model decides."));
}

// What explain found out: plain words, Dice under each alteration, and what deleting parts of the scan does.
function showExplanation(onpick) {
  const { explanation } = report;
  if (!explanation) return;
  const { cases, shares } = explanation;
  const groups = [...new Set(cases.flatMap((one) => Object.keys(one.dice)))]
    .map((how) => ({ name: how, colour: null, values: cases.map((one) => ({ case: one.case, value: valueOf(one.dice[how]) })) }));
  const curves = cases.map((one) => one.deletion).filter(Boolean);
  const mean = (values) => { const known = values.filter((value) => value !== null); return known.reduce((sum, value) => sum + value, 0) / known.length; };
  const points = (order) => shares.map((share, i) => [share, mean(curves.map((curve) => curve[order][i]))]).filter((point) => point.every(Number.isFinite));
  section("explanation", "Is attention used?",
    element("ul", { id: "findings" }, explanation.sentences.map((sentence) => element("li", {}, sentence))),
    element("div", { class: "charts" },
      stripChart({ label: "Dice of each case under changes to attention", yLabel: "mean Dice", groups, digits: 3, onpick }),
      curves.length ? lineChart({ label: "Dice while parts of the scan are deleted", xLabel: "share of the scan deleted", yLabel: "mean Dice", digits: 3, series: [
        { name: "highest attention first", colour: colourOf(1), points: points("by_attention") }, { name: "nearest to the prediction first", colour: colourOf(2), points: points("by_distance") },
        { name: "at random", colour: colourOf(0), points: points("by_chance") },
      ] }) : null),
    element("p", { class: "muted" }, `On ${cases.length} held-out cases, from the worst to the best. The checks do not say why the network decides, nor whether one trained without attention would do worse: train both several times (attention.skips identity) and compare.`));
}

function showCalibration() {
  const classes = Object.entries(scores.calibration);
  if (!classes.length) return;
  const series = classes.map(([name, bins]) => ({
    name, colour: scores.classes.find((one) => one.name === name)?.colour || colourOf(0), points: bins.map((bin) => [bin.probability, bin.share]),
  }));
  const errorOf = (bins) => bins.reduce((sum, bin) => sum + bin.voxels * Math.abs(bin.probability - bin.share), 0) / bins.reduce((sum, bin) => sum + bin.voxels, 0);
  section("calibration", "Can probabilities be believed?",
    lineChart({ label: "Reliability by class", xLabel: "probability", yLabel: "share that is of the class", series, digits: 3, y: [0, 1], diagonal: true }),
    element("p", { class: "muted" }, `Of voxels near the structures: on the dashed line, a class is as frequent as its probability says; below it the model is too sure. `
      + `Expected calibration error, and the same without the lowest of ${scores.calibration_bins} bins, which holds what is background beyond doubt: `
      + `${classes.map(([name, bins]) => `${name} ${readable(errorOf(bins), 4)}, ${readable(errorOf(bins.filter((bin) => bin.probability >= 1 / scores.calibration_bins)), 4)}`).join("; ")}.`));
}
