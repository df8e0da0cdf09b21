// Draw the page of a study: verdicts, gains, cost, learning curves, structures, maps, variation and trainings.

const signed = (value, digits = 4) => (value === null ? "–" : `${value > 0 ? "+" : ""}${readable(value, digits)}`);
const interval = (gain) => (gain.low95 === null ? "–" : `${signed(gain.low95)} to ${signed(gain.high95)}`);
const trainedOn = (persons) => (persons === null ? "" : ` (${persons} person${persons === 1 ? "" : "s"})`);
const note = (text) => element("p", { class: "muted" }, text);

function table(id, heads, rows) {
  return element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": id }, element("table", { id },
    element("thead", {}, element("tr", {}, heads.map((head) => element("th", { scope: "col" }, head)))),
    element("tbody", {}, rows.map(([first, ...cells]) => element("tr", {}, element("th", { scope: "row" }, first), cells.map((cell) => element("td", {}, cell)))))));
}

function showVerdicts() {
  const { verdicts, warnings, record, settings, done, total } = report, [recorded, ...amendments] = record;
  section("verdicts", "Verdicts",
    element("ul", { id: "sentences" }, verdicts.map((text) => element("li", {}, text))),
    done < total ? element("p", { class: "warning" }, `${done} of ${total} trainings are finished. Verdicts are interim. Do not stop early because one pleases you: such gains are often chance.`) : null,
    warnings.map((text) => element("p", { class: "warning" }, text)),
    note(`The margin is ${report.margin} of mean Dice. P values are corrected by Holm for ${counted(verdicts.length, "claim", "claims")}. “Not decided” does not mean that there is no difference. ${recorded}`),
    amendments.map((text) => element("p", { class: "warning" }, text)),
    note(Object.entries(settings).map(([name, value]) => `${name}: ${value}`).join(" · ")));
}

// Draw a row for each gain: its mean with 95 % and 90 % interval, a dot for each pair of trainings, and the margin.
function forestChart(rows) {
  const width = 900, left = 290, right = 210, line = 30, top = 8, height = top + rows.length * line + 46;
  const values = [...rows.flatMap((row) => [row.mean, row.low95, row.high95, ...row.pairs]), report.margin, -report.margin].filter((value) => value !== null);
  const reach = Math.max(...values.map(Math.abs)) * 1.05;
  const atX = (value) => left + ((value + reach) / (2 * reach)) * (width - left - right);
  const chart = drawing("svg", { viewBox: `0 0 ${width} ${height}`, class: "chart forest", role: "img", "aria-label": "Gain of each arm with its interval" });
  const bottom = top + rows.length * line;
  chart.append(drawing("rect", { x: atX(-report.margin), width: atX(report.margin) - atX(-report.margin), y: top, height: bottom - top, class: "margin" }),
    drawing("line", { x1: atX(0), x2: atX(0), y1: top, y2: bottom, class: "zero" }));
  for (const { at, text } of ticksBetween(-reach, reach, 6))
    chart.append(drawing("text", { x: atX(at), y: bottom + 16, class: "tick", "text-anchor": "middle" }, text));
  chart.append(drawing("text", { x: atX(0), y: bottom + 36, class: "name", "text-anchor": "middle" }, "gain of mean Dice"));
  rows.forEach((row, i) => {
    const y = top + (i + 0.5) * line, kind = row.tested ? "tested" : "explored";
    chart.append(drawing("text", { x: left - 12, y, class: row.tested ? "name strong" : "name", "text-anchor": "end", dy: "0.32em" }, `${row.arm} against ${row.against}${trainedOn(row.persons)}`));
    for (const pair of row.pairs) chart.append(drawing("circle", { cx: atX(pair), cy: y + 8, r: 2.4, class: "pair" }, drawing("title", {}, signed(pair))));
    if (row.low95 !== null)
      for (const [low, high, of] of [[row.low95, row.high95, "wide"], [row.low90, row.high90, "narrow"]])
        chart.append(drawing("line", { x1: atX(low), x2: atX(high), y1: y, y2: y, class: `range ${of} ${kind}` }));
    if (row.mean !== null) chart.append(drawing("circle", { cx: atX(row.mean), cy: y, r: 5, class: `mean ${kind}` }));
    chart.append(drawing("text", { x: width - right + 12, y, class: "tick", dy: "0.32em" }, row.mean === null ? "no result" : `${signed(row.mean)}  (${interval(row)})`));
  });
  return element("figure", { class: "wide" }, chart);
}

function showGains() {
  section("gains", "Gains", forestChart(report.gains),
    note("Mean gain after the last step. Thick line: 90 % interval; thin line: 95 %. Band: the margin. Small dots: pairs of trainings with the same fold and seed. Bold names are hypotheses; the others are explored, not tested. Intervals are not corrected for their number."));
}

// Draw a point for each of [x, y, name]; x is logarithmic if asked for.
function scatterChart({ label, xLabel, yLabel, series, logarithmic }) {
  const points = series.flatMap((each) => each.points), scale = logarithmic ? Math.log10 : (value) => value;
  const x = span(points.map((point) => scale(point[0])), 0.08), y = span([0, ...points.map((point) => point[1])], 0.08);
  const { chart, atX, atY } = axes({ width: 460, height: 280, x, y, xLabel, yLabel, label });
  const [low, high] = x;
  chart.append(drawing("line", { x1: atX(low), x2: atX(high), y1: atY(0), y2: atY(0), class: "zero" }));
  for (const { colour, points: of } of series)
    for (const [x, y, name] of of) chart.append(drawing("circle", { cx: atX(scale(x)), cy: atY(y), r: logarithmic ? 2.6 : 5, fill: colour }, drawing("title", {}, `${name}: ${signed(y)}`)));
  return element("figure", {}, chart, element("ul", { class: "legend" }, series.map(({ name, colour }) => element("li", {}, swatch(colour), name))));
}

const colourOfArm = (arm) => colourOf(report.curves.findIndex((curve) => curve.arm === arm));

function showCosts() {
  const { costs, control } = report;
  if (!costs) {
    section("costs", "Cost", note("Costs are not measured: run the study with --plan on an idle machine, then --report. Gains at equal time are shown then."));
    return;
  }
  const unsure = costs.filter((cost) => cost.unsure).map((cost) => cost.arm), known = costs.filter((cost) => cost.gain && cost.gain.mean !== null);
  section("costs", "Gain at equal time",
    known.length ? scatterChart({ label: "Gain at equal time over the time of a step", xLabel: `seconds of a step, as a multiple of ${control}`, yLabel: "gain at equal time",
      series: known.map((cost) => ({ name: cost.arm, colour: colourOfArm(cost.arm), points: [[cost.ratio, cost.gain.mean, cost.arm]] })) }) : note("No arm has results at equal time yet."),
    table("cost-table", ["Arm", "Parameters", "10⁹ operations", "ms a step", `times ${control}`, `Gain over ${control}`, "95 %", "by other turns"],
      costs.map((cost) => [cost.arm, cost.parameters.toLocaleString("en"), readable(cost.macs / 1e9, 2), readable(1000 * cost.seconds, 0), readable(cost.ratio, 2), cost.gain ? signed(cost.gain.mean) : "", cost.gain ? interval(cost.gain) : "", cost.range ? `${signed(cost.range[0])} to ${signed(cost.range[1])}` : ""])),
    unsure.length ? element("p", { class: "warning" }, `The times of the turns differ so much that the gain at equal time of ${unsure.join(", ")} changes by more than the margin, or is unknown for some. Measure again by --plan on an idle machine.`) : null,
    note("Explored, not tested. The slower arm trains no longer than the faster one: the validations of both at the same number of seconds are compared, on the line between two validations. Operations are multiply-accumulates of a forward pass. Last column: the gain by the times of other turns of the measurement."));
}

function showCurves() {
  const { costs, curves } = report, drawn = curves.filter((curve) => curve.points.length), chart = element("div", {});
  if (!drawn.length) return;
  const perStep = (arm) => (costs ? costs.find((cost) => cost.arm === arm) : null);
  const readings = [{ value: "steps", text: "steps", of: () => 1 }];
  if (costs) readings.push({ value: "minutes", text: "minutes", of: (arm) => perStep(arm).seconds / 60 }, { value: "operations", text: "operations of forward passes (10¹⁵)", of: (arm) => perStep(arm).macs / 1e15 });
  const draw = (name) => {
    const reading = readings.find((each) => each.value === name);
    chart.replaceChildren(lineChart({ label: "Dice of held-out cases", xLabel: reading.text, yLabel: "mean Dice of held-out persons", digits: 4,
      series: drawn.map(({ arm, points }) => ({ name: arm, colour: colourOfArm(arm), points: points.map(([step, dice]) => [step * reading.of(arm), dice]) })) }));
  };
  section("curves", "Learning curves", readings.length > 1 ? select("Over", readings, draw) : null, chart,
    note("Means over the trainings with folds and seeds that all arms have finished. The learning rate falls in the second half of a training, so an earlier validation may be a little lower than what a training of that length gives."));
  draw("steps");
}

function showStructures() {
  const { control, classes, volumes } = report, arms = report.curves.map((curve) => curve.arm).filter((arm) => arm !== control), series = arms.filter((arm) => volumes[arm].length);
  if (!series.length) return;
  const metrics = element("div", {});
  const show = (chosen) => {
    const { gains, metrics: found } = classes.find(({ name }) => name === chosen), text = (value, digits) => readable(valueOf(value), digits);
    metrics.replaceChildren(table("metric-table", ["Arm", "Dice", "NSD", "HD95 (mm, median)", `Gain over ${control}`, "95 %"], report.curves.map(({ arm }, i) =>
      [arm, text(found[i].dice, 4), text(found[i].nsd, 4), text(found[i].hd95_mm, 2), i ? signed(gains[i - 1].mean) : "", i ? interval(gains[i - 1]) : ""])));
  };
  section("structures", "By structure",
    select("Structure", classes.map(({ name }) => ({ value: name, text: name })), show), metrics,
    table("class-table", ["Structure", ...arms], classes.map(({ name, gains }) => [name, ...gains.map((gain) => [signed(gain.mean), element("small", {}, interval(gain))])])),
    element("div", { class: "charts" }, series.map((arm) => scatterChart({ label: `Gain of ${arm} over the size of the structure`, xLabel: "log₁₀ of the volume in ml", yLabel: `gain of ${arm}`, logarithmic: true,
      series: [{ name: arm, colour: colourOfArm(arm), points: volumes[arm].map(([ml, gain, name, structure]) => [ml, gain, `${name}, ${structure}`]) }] }))),
    note(`Explored, not tested. Gains of Dice over ${control} with 95 % intervals; a dot is a structure of a held-out case. Gains are means over persons and then folds, so they differ slightly from differences of Dice in this table.`));
  show(classes[0].name);
}

function showMaps() {
  if (!report.maps.length) return;
  section("maps", "Attention maps", report.maps.map(({ arm, sentences, dice, cases }) => element("details", { open: report.maps.length < 4 },
    element("summary", {}, `${arm}, ${counted(cases, "held-out case", "held-out cases")} of its first training`),
    table(`maps-${arm}`, ["Condition", "Mean Dice"], Object.entries(dice).map(([name, value]) => [name, readable(value, 4)])),
    element("ul", {}, sentences.map((sentence) => element("li", {}, sentence))))));
}

function showVariation() {
  const digits = (value) => (value === null ? "–" : readable(value, 4)), needed = (folds) => (folds === null ? "–" : `${folds}`);
  section("variation", "Where gains vary",
    table("variation-table", ["Comparison", "SD of folds", "SD of seeds", "SD of persons", ...report.narrowed.map((half) => `folds for ±${half}`)],
      report.variation.map((row) => [row.name + trainedOn(row.persons), digits(row.of_folds), digits(row.of_seeds), digits(row.of_persons), ...row.needed.map(needed)])),
    note("Standard deviations of the gain: of the means of folds; of the means of seeds within a fold; of held-out persons within a pair of trainings. Right: folds needed for this half width of the 95 % interval, each with as many new persons. –: already reached, or one fold only."));
}

function showCells() {
  const rows = report.cells.map(({ arm, persons, seed, fold, dice }) => [arm, persons === null ? "all" : persons, seed, fold, dice === null ? "–" : readable(dice, 4)]);
  section("trainings", "Trainings", element("details", {}, element("summary", {}, `${report.done} of ${report.total} trainings`),
    table("cell-table", ["Arm", "Persons", "Seed", "Fold", "Mean Dice"], rows)),
    note("To repeat the study: the same file, the same data, and the command study. Trainings with the same versions on the same kind of processor give the same numbers."));
}

document.getElementById("title").textContent = report.title;
document.querySelector(".kind").textContent = "Study";
document.getElementById("about").textContent = `${report.done} of ${report.total} trainings · made ${report.made}`;
document.getElementById("footer").textContent = `Made by ${Object.entries(report.versions).map(([name, version]) => `${name} ${version}`).join(", ")}. This page is complete: it loads and sends nothing.`;
for (const part of [showVerdicts, showGains, showCosts, showCurves, showStructures, showMaps, showVariation, showCells]) attempt(part);
