// Show three planes through one voxel of a case, with overlays, for mouse, touch and keyboard.

const MAX_CLASSES = 8; // with scores above the planes of a case; for more classes, only (foreground)
const MAX_HEIGHT = 460; // of a plane, in pixels of the page
const KEYS = "Drag in a plane, or use its arrow keys, to move the crosshair. Mouse wheel or page keys: change the slice. "
  + "Keys: N next case, P previous case, R reference, M prediction (mask), D difference, X crosshair, A next map, − and + opacity.";

class Viewer {
  constructor() {
    this.names = scores.cases.map((row) => row.case).filter((name) => report.shown[name]);
    this.volume = null;
    const colours = Uint8Array.from(atob(report.colour_map), (letter) => letter.charCodeAt(0));
    this.look = {
      voxel: [0, 0, 0], channel: 0, dark: 0, bright: 255, opacity: 0.45, reference: true, prediction: true, difference: false,
      crosshair: true, map: null, top: 1, colours: [[0, 0, 0], ...scores.classes.map((group) => rgbOf(group.colour))],
      colourMap: Array.from({ length: 256 }, (_, i) => [...colours.subarray(3 * i, 3 * i + 3)]),
    };
    this.look.top = Math.max(1, ...Object.values(report.shown).flatMap((facts) => facts.maps.map((map) => map.top)));
    this.build();
    new ResizeObserver(() => this.draw()).observe(this.planes);
    document.addEventListener("keydown", (event) => this.press(event));
  }

  build() {
    this.caseList = element("select", { id: "case", onchange: () => this.open(this.caseList.value) }, this.names.map((name) => {
      const { mean_dice: dice } = scores.cases.find((row) => row.case === name);
      return element("option", { value: name }, `${name}   Dice ${readable(valueOf(dice), 3)}`);
    }));
    const step = (by, text, label) => element("button", { type: "button", "aria-label": label, onclick: () => this.openNext(by) }, text);
    this.caseScores = element("p", { id: "case-scores", class: "muted" });
    this.canvases = PLANES.map((plane) => element("canvas", { tabindex: 0, role: "img", class: "plane" }));
    this.sliders = PLANES.map((plane, i) => element("input", { type: "range", min: 1, step: 1, id: `slice-${i}`, oninput: () => { this.look.voxel[plane.across] = Number(this.sliders[i].value) - 1; this.draw(); } }));
    this.labels = PLANES.map((plane, i) => element("label", { for: `slice-${i}` }));
    this.planes = element("div", { class: "planes" }, PLANES.map((plane, i) => {
      this.listen(this.canvases[i], plane);
      return element("figure", {}, this.canvases[i], element("figcaption", {}, this.labels[i], this.sliders[i]));
    }));
    this.readout = element("dl", { id: "readout" });
    this.notes = element("p", { id: "grid", class: "muted" });
    this.overlays = element("div", { class: "controls", id: "overlays" });
    this.status = element("p", { class: "warning", role: "status", hidden: true });
    section("viewer", "View the cases",
      element("div", { class: "controls" }, step(-1, "◀", "Previous case"), element("label", { class: "control" }, element("span", {}, "Case (worst first)"), this.caseList), step(1, "▶", "Next case")),
      this.caseScores, this.status, this.planes, this.readout, this.overlays, this.legend(), this.notes, element("p", { class: "muted keys" }, KEYS));
  }

  legend() {
    const item = (colour, text) => element("li", {}, swatch(colour), text);
    this.differences = element("ul", { class: "legend", hidden: true },
      Object.entries({ missed: "missed", extra: "false positive", other: "wrong class" }).map(([kind, text]) => item(`rgb(${DIFFERENCES[kind].join(" ")})`, text)));
    const bar = element("canvas", { width: 256, height: 1, "aria-hidden": "true" }), colours = new ImageData(256, 1);
    this.look.colourMap.forEach((colour, i) => colours.data.set([...colour, 255], 4 * i));
    bar.getContext("2d").putImageData(colours, 0, 0);
    this.scale = element("p", { class: "muted scale", hidden: true }, "Map: 0", bar, `${this.look.top} (same scale for all cases and maps)`);
    return element("div", { class: "legends" },
      element("ul", { class: "legend" }, scores.classes.map((group) => item(group.colour, group.name)), element("li", { class: "muted" }, "outline: reference; filled: prediction")),
      this.differences, this.scale);
  }

  // Show the controls of a case: its channels and maps differ from those of other cases.
  showControls() {
    const { facts } = this.volume, { look } = this;
    const box = (name, text) => element("label", { class: "control" }, element("input", {
      type: "checkbox", id: `show-${name}`, onchange: (event) => { look[name] = event.target.checked; this.showState(); this.draw(); },
    }), element("span", {}, text));
    const range = (id, text, top, use) => element("label", { class: "control" }, element("span", {}, text),
      element("input", { type: "range", id, min: 0, max: top, oninput: (event) => { use(Number(event.target.value)); this.draw(); } }));
    const maps = [{ value: "", text: "none" }, ...facts.maps.map((map, i) => ({ value: i, text: map.name }))];
    const map = select("Map", maps, (value) => { look.map = value === "" ? null : Number(value); this.draw(); }, "map");
    const channels = facts.channels.map((_, i) => ({ value: i, text: report.channels[i] ?? `channel ${i}` }));
    const channel = select("Channel", channels, (value) => { look.channel = Number(value); this.resetWindow(); this.showState(); this.draw(); }, "channel");
    this.overlays.replaceChildren(...[
      box("reference", "Reference"), box("prediction", "Prediction"), box("difference", "Difference"), box("crosshair", "Crosshair"),
      facts.maps.length ? map : null,
      range("opacity", "Opacity", 100, (value) => { look.opacity = value / 100; }),
      channels.length > 1 ? channel : null,
      channels.length ? range("dark", "Black at", 255, (value) => { look.dark = value; }) : null,
      channels.length ? range("bright", "White at", 255, (value) => { look.bright = value; }) : null,
    ].filter(Boolean));
  }

  // Set the controls to the current state. The keyboard focus does not move.
  showState() {
    const { look } = this, set = (id, values) => Object.assign(document.getElementById(id) ?? {}, values);
    for (const name of ["reference", "prediction", "difference", "crosshair"]) set(`show-${name}`, { checked: look[name] });
    set("show-prediction", { disabled: look.difference }); // otherwise colours of classes would hide those of differences
    set("map", { value: look.map ?? "" });
    set("channel", { value: look.channel });
    set("opacity", { value: Math.round(look.opacity * 100) });
    set("dark", { value: look.dark });
    set("bright", { value: look.bright });
  }

  resetWindow() {
    const channel = this.volume.facts.channels[this.look.channel];
    if (channel) Object.assign(this.look, { dark: channel.dark, bright: channel.bright });
  }

  async open(name, show = false) {
    this.wanted = name;
    this.status.hidden = true;
    try {
      const volume = await loadVolume(name);
      if (this.wanted !== name) return;
      this.volume = volume;
    } catch (error) {
      this.status.textContent = `${name} cannot be shown: ${error.message}. Use a browser from 2023 or later.`;
      this.status.hidden = false;
      return;
    }
    const { facts } = this.volume;
    this.caseList.value = name;
    this.look.voxel = this.volume.startVoxel();
    if (this.look.channel >= facts.channels.length) this.look.channel = 0;
    if (this.look.map !== null && this.look.map >= facts.maps.length) this.look.map = null;
    this.resetWindow();
    this.showControls();
    this.showState();
    this.showScores();
    this.draw();
    if (show) document.getElementById("viewer").scrollIntoView();
  }

  openNext(by) {
    const index = this.names.indexOf(this.volume?.name) + by;
    if (index >= 0 && index < this.names.length) this.open(this.names[index]);
  }

  showScores() {
    const row = scores.cases.find(({ case: name }) => name === this.volume.name), { facts } = this.volume;
    const groups = scores.classes.length > MAX_CLASSES ? groupsOf().slice(-1) : groupsOf();
    this.caseScores.textContent = `${row.case}: mean Dice ${readable(valueOf(row.mean_dice), 3)} · ` + groups.map((group) => `${group.name}: Dice ${readable(scoreOf(row, group, "dice"), 3)}, HD95 ${readable(scoreOf(row, group, "hd95_mm"), 2)} mm`).join(" · ");
    const notes = [
      facts.predicted ? null : "This case has no prediction.",
      facts.predicted && !this.volume.prediction.some(Boolean) ? "The prediction is empty in the shown part of the scan." : null,
      facts.problem,
      facts.whole ? null : "Only the part of the scan around the structures is shown.",
      facts.step.some((n) => n > 1) ? `One voxel in ${facts.step.join(" × ")} is shown.` : null,
      facts.tilt_degrees >= 1 ? `The grid is tilted by ${facts.tilt_degrees}° against the patient's axes. The planes are those of the grid.` : null,
    ];
    this.notes.textContent = notes.filter(Boolean).join(" ");
  }

  draw() {
    if (!this.volume) return;
    const { volume, look } = this, dots = window.devicePixelRatio || 1, room = this.planes.clientWidth;
    const mm = volume.shape.map((n, axis) => n * volume.facts.spacing_mm[axis]);
    const columns = room > 720 ? 3 : 1, gaps = 16 * (columns - 1);
    const widths = PLANES.map(({ h }) => mm[h]), across = columns === 3 ? widths[0] + widths[1] + widths[2] : Math.max(...widths);
    const scale = Math.min((room - gaps - 2) / across, MAX_HEIGHT / Math.max(...PLANES.map(({ v }) => mm[v])));
    PLANES.forEach((plane, i) => {
      drawPlane(this.canvases[i], volume, plane, look, scale * dots);
      this.canvases[i].style.width = `${this.canvases[i].width / dots}px`;
      this.canvases[i].style.height = `${this.canvases[i].height / dots}px`;
      const n = volume.shape[plane.across], slice = look.voxel[plane.across] + 1;
      this.sliders[i].max = n;
      this.sliders[i].value = slice;
      this.labels[i].textContent = `${plane.name} ${slice} / ${n}`;
      this.canvases[i].setAttribute("aria-label", `${plane.name} plane ${slice} of ${n} of ${volume.name}; arrow keys move the crosshair`);
    });
    this.differences.hidden = !look.difference;
    this.scale.hidden = look.map === null;
    this.describe(look.voxel);
  }

  // Show position and values of a voxel.
  describe(voxel) {
    const { volume, look } = this, { facts } = volume, index = volume.indexOf(voxel);
    const className = (label) => (label ? scores.classes[label - 1].name : "background");
    const mm = volume.transform(facts.to_mm, voxel), sides = [["right", "left"], ["front", "back"], ["up", "down"]];
    const entries = [
      ["Position", mm.map((value, i) => `${readable(Math.abs(value), 1)} mm ${sides[i][value < 0 ? 1 : 0]}`).join(", ")],
      ["Voxel (i, j, k)", volume.transform(facts.to_file, voxel).join(", ")],
      facts.channels.length ? ["Value", volume.valueAt(look.channel, voxel)] : null,
      ["Reference", volume.ignored[index] ? "ignored" : className(volume.reference[index])],
      ["Prediction", facts.predicted ? className(volume.prediction[index]) : "none"],
      look.map === null ? null : ["Map", readable((volume.mapAt(look.map, voxel) / 255) * facts.maps[look.map].top, 2)],
    ];
    this.readout.replaceChildren(...entries.filter(Boolean).map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value))));
  }

  listen(canvas, plane) {
    const { h, v, across } = plane;
    const voxelAt = (event) => {
      const box = canvas.getBoundingClientRect(), voxel = [...this.look.voxel];
      const index = (axis, share) => Math.min(Math.max(this.volume.shape[axis] - 1 - Math.floor(share * this.volume.shape[axis]), 0), this.volume.shape[axis] - 1);
      voxel[h] = index(h, (event.clientX - box.left) / box.width);
      voxel[v] = index(v, (event.clientY - box.top) / box.height);
      return voxel;
    };
    const move = (event) => { this.look.voxel = voxelAt(event); this.draw(); };
    canvas.addEventListener("pointerdown", (event) => { if (!this.volume || event.button) return; canvas.setPointerCapture(event.pointerId); canvas.focus({ preventScroll: true }); move(event); });
    canvas.addEventListener("pointermove", (event) => { if (!this.volume) return; if (event.buttons & 1) move(event); else this.describe(voxelAt(event)); });
    canvas.addEventListener("pointerleave", () => this.volume && this.describe(this.look.voxel));
    canvas.addEventListener("wheel", (event) => { event.preventDefault(); this.shift(across, event.deltaY < 0 ? 1 : -1); }, { passive: false });
    canvas.addEventListener("keydown", (event) => {
      const moves = { ArrowLeft: [h, 1], ArrowRight: [h, -1], ArrowUp: [v, 1], ArrowDown: [v, -1], PageUp: [across, 1], PageDown: [across, -1] };
      if (!moves[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      this.shift(...moves[event.key]);
    });
  }

  shift(axis, by) {
    if (!this.volume) return;
    this.look.voxel[axis] = Math.min(Math.max(this.look.voxel[axis] + by, 0), this.volume.shape[axis] - 1);
    this.draw();
  }

  press(event) {
    if (!this.volume || event.ctrlKey || event.metaKey || event.altKey || ["SELECT", "TEXTAREA"].includes(event.target.tagName)) return;
    const toggles = { r: "reference", m: "prediction", d: "difference", x: "crosshair" }, key = event.key.toLowerCase(), { look } = this;
    if (key === "m" && look.difference) return;
    if (toggles[key]) look[toggles[key]] = !look[toggles[key]];
    else if (key === "n" || key === "p") return this.openNext(key === "n" ? 1 : -1);
    else if (key === "a" && this.volume.facts.maps.length) look.map = look.map === null ? 0 : look.map + 1 < this.volume.facts.maps.length ? look.map + 1 : null;
    else if (key === "+" || key === "-") look.opacity = Math.min(Math.max(look.opacity + (key === "+" ? 0.1 : -0.1), 0), 1);
    else return;
    this.showState();
    this.draw();
  }
}
