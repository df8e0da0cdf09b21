// The page from top to bottom.

function counted(number, one, several) {
  return `${number} ${number === 1 ? one : several}`;
}

function showReport() {
  document.getElementById("title").textContent = report.title;
  const parts = [];
  if (scores) parts.push(counted(scores.summary.n_cases, "case", "cases"), counted(scores.classes.length, "class", "classes"));
  if (scores && scores.summary.foreground_mean.dice !== null) parts.push(`mean Dice ${readable(scores.summary.foreground_mean.dice, 4)}`);
  document.getElementById("about").textContent = [...parts, `made ${report.made}`].join(" · ");
  document.getElementById("footer").textContent = `Made by ${Object.entries(report.versions).map(([name, version]) => `${name} ${version}`).join(", ")}. This page holds all it needs: it loads and sends nothing. Not a medical device.`;
  let viewer = null;
  const look = (name) => report.shown[name] && viewer.open(name, true);
  if (scores) {
    showSummary();
    if (Object.keys(report.shown).length) viewer = new Viewer();
    for (const [name, reason] of Object.entries(report.failed)) document.getElementById("summary").append(element("p", { class: "remark" }, `${name} cannot be looked at: ${reason}`));
    showCases(look);
    showSpread(look);
    showFocus();
    showExplanation(look);
    showCalibration();
  }
  showTrainings();
  if (viewer) viewer.open(viewer.names[0]);
  window.addEventListener("beforeprint", () => document.querySelectorAll("#setup > details").forEach((details) => { details.open = true; }));
}

showReport();
