// Show the scores: summary by class, table of cases, distribution over cases, attention, checks and calibration.

const scores = report.scores;

function metricNamed(name) {
  return scores.metrics.find((metric) => metric.name === name);
}

// Return the classes, and if there are several, all of them together as (foreground).
function groupsOf() {
  return scores.foreground ? [...scores.classes, { name: scores.foreground, colour: null }] : scores.classes;
}

function scoreOf(row, group, metric) {
  return valueOf(row.scores[group.name]?.[metric]);
}

function summaryTable() {
  const { summary } = scores;
  const cell = (statistics, { digits }) => {
    const infinite = statistics?.n_infinite ? `infinite in ${statistics.n_infinite}: missed or invented` : "";
    if (infinite) return element("td", {}, "∞", element("small", {}, infinite), statistics.finite_mean === null ? null : element("small", {}, `others ${readable(statistics.finite_mean, digits)}`));
    const undefinedIn = statistics?.n_undefined ? element("small", {}, `undefined in ${statistics.n_undefined}`) : null;
    if (!statistics || statistics.mean === null) return element("td", {}, "–", undefinedIn);
    const interval = statistics.ci95 ? `${readable(statistics.ci95[0], digits)} to ${readable(statistics.ci95[1], digits)}` : null;
    return element("td", {}, readable(statistics.mean, digits),
      statistics.sd === null ? null : element("small", {}, `± ${readable(statistics.sd, digits)}`), interval ? element("small", {}, interval) : null, element("small", {}, `median ${readable(statistics.median, digits)}`), undefinedIn);
  };
  const row = (name, colour, statistics) => element("tr", {},
    element("th", { scope: "row" }, colour ? swatch(colour) : null, name), scores.metrics.map((metric) => cell(statistics?.[metric.name], metric)));
  const mean = element("tr", { class: "mean" }, element("th", { scope: "row" }, "mean of classes"), scores.metrics.map((metric) => {
    const whole = summary.mean_of_classes[metric.name];
    if (!whole && Object.values(summary.classes).some((ofClass) => ofClass[metric.name]?.n_infinite)) return element("td", {}, "∞");
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
    element("p", { class: "muted" }, `Mean ± standard deviation over ${counted(summary.n_cases, "case", "cases")}; below: 95 % confidence interval of the mean over subjects (Student's t), and median. (foreground) is all classes as one. `
      + `Undefined values are counted and left out of the means: ${summary.settings.undefined}. Tolerance of the NSD: ${summary.settings.tolerance_mm} mm.`),
    [...summary.warnings, ...failed].map((text) => element("p", { class: "warning" }, text)));
}

function showDistribution(onpick) {
  const chart = element("div", {});
  const draw = (name) => {
    const metric = metricNamed(name);
    chart.replaceChildren(dotChart({
      label: `${metric.heading} of each case, by class`, yLabel: metric.heading, digits: metric.digits, onpick,
      groups: groupsOf().map((group) => ({
        name: group.name, colour: group.colour,
        values: scores.cases.map((row) => ({ case: row.case, value: scoreOf(row, group, name) })),
      })),
    }), element("p", { class: "muted" }, `${metric.heading}: ${metric.meaning}. Each dot is a case: click it to view the case. Boxes show quartiles and median.`));
  };
  section("distribution", "Distribution over cases", metricSelect("distribution-metric", draw), chart);
  draw("dice");
}

function metricSelect(id, onchange) {
  return select("Metric", scores.metrics.map(({ name, heading }) => ({ value: name, text: heading })), onchange, id);
}

// Show a table with one row per case. A click on a heading sorts by that column, the worst first; a second click reverses.
function showCases(onpick) {
  const table = element("table", { id: "case-table" });
  let metric = metricNamed("dice"), sorted = { column: 1, ascending: true };
  const columns = () => [
    { heading: "Case", read: (row) => row.case },
    { heading: "Mean Dice", digits: 3, read: (row) => valueOf(row.mean_dice) },
    ...groupsOf().map((group) => ({ heading: `${metric.heading}, ${group.name}`, digits: metric.digits, worstIsHigh: metric.lower_is_better, read: (row) => scoreOf(row, group, metric.name) })),
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
    const isUndefined = (row) => typeof shown[column].read(row) === "number" && Number.isNaN(shown[column].read(row));
    const rows = [...scores.cases].sort((a, b) => isUndefined(a) - isUndefined(b) || order(shown[column].read(a), shown[column].read(b)) * (ascending ? 1 : -1));
    table.replaceChildren(element("thead", {}, element("tr", {}, heads)), element("tbody", {}, rows.map((row) => element("tr", {},
      shown.map(({ read, digits }, i) => i ? element("td", {}, readable(read(row), digits)) : element("th", { scope: "row" }, caseButton(row.case, onpick)))))));
  };
  const list = metricSelect("table-metric", (name) => { metric = metricNamed(name); sorted = { column: 1, ascending: true }; draw(); });
  section("cases", "Cases", list, element("div", { class: "scroll tall", tabindex: 0, role: "region", "aria-label": "Cases" }, table));
  draw();
}

function caseButton(name, onpick) {
  if (report.shown[name]) return element("button", { type: "button", class: "link", onclick: () => onpick(name) }, name);
  return element("span", { title: report.failed[name] || "this page has no voxels of this case" }, name);
}

function showAttention() {
  if (!scores.attention.length) return;
  const head = ["Place", "Class", "Inside", "Outside", "AUC"], isUniform = (row) => Math.abs(row.inside - row.outside) < 0.01;
  section("attention", "Attention inside and outside the classes",
    element("div", { class: "scroll" }, element("table", { id: "attention-table" }, element("thead", {}, element("tr", {}, head.map((name) => element("th", { scope: "col" }, name)))),
      element("tbody", {}, scores.attention.map((row) => element("tr", {}, element("th", { scope: "row" }, row.place),
        element("td", {}, row.class), element("td", {}, readable(row.inside, 3)), element("td", {}, readable(row.outside, 3)), element("td", {}, readable(row.auc, 3))))))),
    element("p", { class: "muted" }, "Mean attention weight inside each class and in the background, over the cases. A place has the number of its level; 0 is the finest. "
      + "AUC: probability that a voxel of the class has a higher weight than a voxel of the background. 1: always higher; 0.5: no difference; below 0.5: attention suppresses the class. "
      + (scores.attention.every(isUniform) ? "Here the weights are about the same everywhere: attention selects channels, or its gates are still open. " : "")
      + "Weights show where features pass, not why the model decides."));
}

// Show the results of explain: sentences, Dice under each ablation of attention, and deletion curves.
function showExplanation(onpick) {
  const { explanation } = report;
  if (!explanation) return;
  const { cases, shares } = explanation, orders = ["by_attention", "by_distance", "by_chance"];
  const groups = [...new Set(cases.flatMap((row) => Object.keys(row.dice)))]
    .map((name) => ({ name, colour: null, values: cases.map((row) => ({ case: row.case, value: valueOf(row.dice[name]) })) }));
  const deletions = cases.map((row) => row.deletion).filter((each) => each && orders.every((order) => !each[order].includes(null)));
  const casesAt = (place) => deletions.filter((each) => each.place === place);
  const curves = deletions.map((each) => casesAt(each.place)).sort((one, other) => other.length - one.length)[0] ?? [];
  const points = (order) => shares.map((share, i) => [share, curves.reduce((sum, curve) => sum + curve[order][i], 0) / curves.length]);
  section("explanation", "Is attention used?",
    element("ul", { id: "findings" }, explanation.sentences.map((sentence) => element("li", {}, sentence))),
    element("div", { class: "charts" },
      dotChart({ label: "Dice of each case under ablations of attention", yLabel: "mean Dice", groups, digits: 3, onpick }),
      curves.length ? lineChart({ label: "Deletion curves: Dice while parts of the scan are deleted", xLabel: "share of the predicted voxels deleted", yLabel: "mean Dice", digits: 3, series: [
        { name: "highest attention first", colour: colourOf(1), points: points("by_attention") }, { name: "deepest in the prediction first", colour: colourOf(2), points: points("by_distance") },
        { name: "at random", colour: colourOf(0), points: points("by_chance") },
      ] }) : null),
    element("p", { class: "muted" }, `Checked on ${counted(cases.length, "held-out case", "held-out cases")}, from the worst to the best. The checks do not show why the network decides, nor whether a network without attention would be worse: train both several times (attention.skips identity) and compare.`));
}

function showCalibration() {
  const classes = Object.entries(scores.calibration);
  if (!classes.length) return;
  const series = classes.map(([name, bins]) => ({
    name, colour: scores.classes.find((group) => group.name === name)?.colour || colourOf(0), points: bins.map((bin) => [bin.probability, bin.share]),
  }));
  const errorOf = (bins) => bins.reduce((sum, bin) => sum + bin.voxels * Math.abs(bin.probability - bin.share), 0) / bins.reduce((sum, bin) => sum + bin.voxels, 0);
  section("calibration", "Calibration of the probabilities",
    lineChart({ label: "Reliability diagram by class", xLabel: "predicted probability", yLabel: "true share of the class", series, digits: 3, y: [0, 1], diagonal: true }),
    element("p", { class: "muted" }, `Voxels near the structures. On the dashed line, the predicted probability of a class is its true share; below it, the model is overconfident. `
      + `Expected calibration error, then without the lowest of ${scores.calibration_bins} bins, which holds the clear background: `
      + `${classes.map(([name, bins]) => `${name} ${readable(errorOf(bins), 4)}, ${readable(errorOf(bins.filter((bin) => bin.probability >= 1 / scores.calibration_bins)), 4)}`).join("; ")}.`));
}
