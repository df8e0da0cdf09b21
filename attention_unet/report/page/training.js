// Show the trainings: learning curves, and settings to repeat them.

function showTrainings() {
  const runs = report.runs.filter((run) => run.history.minutes?.length);
  if (runs.length) {
    const single = runs.length === 1, curves = (run, column) => run.history.minutes.map((minute, i) => [minute, valueOf(run.history[column][i])]).filter((point) => point.every(Number.isFinite));
    const classes = Object.keys(runs[0].history).filter((name) => name.startsWith("dice "));
    const losses = runs.map((run, i) => ({ name: single ? "" : run.name, colour: single ? "currentColor" : colourOf(i), points: curves(run, "loss") }));
    const dice = single
      ? classes.map((column, i) => ({ name: column.slice(5), colour: colourOf(i), points: curves(runs[0], column) }))
      : runs.map((run, i) => ({ name: run.name, colour: colourOf(i), points: curves(run, "dice") }));
    section("training", "Training", element("div", { class: "charts" },
      lineChart({ label: "Training loss over minutes", xLabel: "minutes", yLabel: "training loss", series: losses.filter((line) => line.points.length), digits: 3 }),
      dice.some((line) => line.points.length) ? lineChart({ label: "Dice of held-out cases over minutes", xLabel: "minutes", yLabel: single ? "Dice of held-out cases" : "mean Dice of held-out cases", series: dice.filter((line) => line.points.length), digits: 4 }) : null));
  }
  if (report.runs.length) section("setup", "Settings of the trainings", report.runs.map((run) => element("details", { open: report.runs.length === 1 },
    element("summary", {}, run.name), runFacts(run))));
}

function runFacts(run) {
  const row = (name, value) => (value === null || value === undefined || value === "" ? null : element("tr", {}, element("th", { scope: "row" }, name), element("td", {}, value)));
  const { plan, split } = run, architecture = plan?.architecture ?? {}, product = (values) => values?.join(" × ");
  const more = (name, text) => (text ? element("details", {}, element("summary", {}, name), element("pre", { tabindex: 0 }, text)) : null);
  return [
    element("table", { class: "facts" }, element("tbody", {},
      row("Channels", plan?.channels?.join(", ")),
      row("Classes", plan && Object.keys(plan.labels.integers).join(", ")),
      row("Voxel size of the network", plan && `${product(plan.preprocessing.spacing_mm.map((mm) => Number(mm.toFixed(3))))} mm`),
      row("Patch size in voxels", product(plan?.patch)),
      row("Patches per step (batch)", plan?.batch),
      row("Channels by level", architecture.channels?.join(", ")),
      row("Attention (level 0 is the finest)", run.attention),
      row("Training cases", split?.training && split.training.length),
      row("Held-out cases", split?.validation && split.validation.length),
      row("Versions", Object.entries(run.versions).map(([name, version]) => `${name} ${version}`).join(", ")),
      row("sha256 of the weights", run.model_sha256))),
    more("Configuration", run.config),
    more("Plan", plan && JSON.stringify(plan, null, 1)),
    more("Split", split?.training && `training cases: ${split.training.join(", ")}\n\nheld-out cases: ${split.validation.join(", ")}`),
  ];
}
