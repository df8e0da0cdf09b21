// Draw the three planes of a volume. Planes are seen as in radiology, from the feet, the front and the left. Both axes of
// a plane therefore run against those of the volume.

const PLANES = [
  { name: "Axial", across: 2, h: 0, v: 1, sides: ["R", "L", "A", "P"] },
  { name: "Coronal", across: 1, h: 0, v: 2, sides: ["R", "L", "S", "I"] },
  { name: "Sagittal", across: 0, h: 1, v: 2, sides: ["A", "P", "S", "I"] },
];
const DIFFERENCES = { missed: [255, 236, 61], extra: [220, 38, 127], other: [100, 143, 255] };

function rgbOf(colour) {
  return [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
}

// Return the colours of a slice, one pixel per voxel, in rows from the top.
function paintSlice(volume, plane, look) {
  const { h, v, across } = plane, width = volume.shape[h], height = volume.shape[v];
  const pixels = new ImageData(width, height), data = pixels.data, voxel = [...look.voxel];
  const channel = volume.channels[look.channel], map = look.map === null ? null : volume.facts.maps[look.map];
  const share = look.opacity, scale = 255 / Math.max(look.bright - look.dark, 1);
  const mix = (at, colour, part) => { for (let i = 0; i < 3; i++) data[at + i] += (colour[i] - data[at + i]) * part; };
  for (let row = 0, at = 0; row < height; row++) {
    voxel[v] = height - 1 - row;
    for (let column = 0; column < width; column++, at += 4) {
      voxel[h] = width - 1 - column;
      const index = volume.indexOf(voxel), grey = channel ? (channel[index] - look.dark) * scale : 0;
      data[at] = data[at + 1] = data[at + 2] = Math.min(Math.max(grey, 0), 255);
      data[at + 3] = 255;
      if (map) mix(at, look.colourMap[Math.round((volume.mapAt(look.map, voxel) * map.top) / look.top)], share);
      const predicted = volume.prediction[index], reference = volume.reference[index];
      if (look.prediction && predicted && !look.difference) mix(at, look.colours[predicted], share);
      if (look.difference && volume.differs(index)) mix(at, DIFFERENCES[!predicted ? "missed" : !reference ? "extra" : "other"], Math.min(share * 1.4, 1));
    }
  }
  return pixels;
}

// Draw the outlines of the classes of a mask along the edges of voxels.
function outlineSlice(context, mask, volume, plane, look, zoom) {
  const { h, v } = plane, width = volume.shape[h], height = volume.shape[v], start = [...look.voxel];
  start[h] = start[v] = 0;
  const first = volume.indexOf(start), classAt = (a, b) => (a < 0 || b < 0 || a >= width || b >= height ? 0 : mask[first + a * volume.strides[h] + b * volume.strides[v]]);
  const paths = new Map();
  for (let b = 0; b < height; b++) for (let a = 0; a < width; a++) {
    const label = classAt(a, b);
    if (!label) continue;
    if (!paths.has(label)) paths.set(label, new Path2D());
    const path = paths.get(label), left = (width - 1 - a) * zoom[0], top = (height - 1 - b) * zoom[1], right = left + zoom[0], bottom = top + zoom[1];
    const edge = (...ends) => { path.moveTo(ends[0], ends[1]); path.lineTo(ends[2], ends[3]); };
    if (classAt(a + 1, b) !== label) edge(left, top, left, bottom);
    if (classAt(a - 1, b) !== label) edge(right, top, right, bottom);
    if (classAt(a, b + 1) !== label) edge(left, top, right, top);
    if (classAt(a, b - 1) !== label) edge(left, bottom, right, bottom);
  }
  context.lineWidth = 2 * (window.devicePixelRatio || 1);
  context.lineCap = "square";
  for (const [label, path] of paths) {
    context.strokeStyle = `rgb(${look.colours[label].join(" ")})`;
    context.stroke(path);
  }
}

// Draw a plane; scale: device pixels per millimetre.
function drawPlane(canvas, volume, plane, look, scale) {
  const { h, v } = plane, zoom = [h, v].map((axis) => volume.facts.spacing_mm[axis] * scale), context = canvas.getContext("2d");
  canvas.width = Math.max(Math.round(volume.shape[h] * zoom[0]), 1);
  canvas.height = Math.max(Math.round(volume.shape[v] * zoom[1]), 1);
  const slice = new OffscreenCanvas(volume.shape[h], volume.shape[v]);
  slice.getContext("2d").putImageData(paintSlice(volume, plane, look), 0, 0);
  context.imageSmoothingEnabled = false;
  context.drawImage(slice, 0, 0, canvas.width, canvas.height);
  if (look.reference) outlineSlice(context, volume.reference, volume, plane, look, zoom);
  if (look.crosshair) drawCrosshair(context, canvas, [h, v].map((axis, i) => (volume.shape[axis] - 0.5 - look.voxel[axis]) * zoom[i]));
  nameSides(context, canvas, plane.sides);
}

function drawCrosshair(context, canvas, [x, y]) {
  const gap = 7 * (window.devicePixelRatio || 1);
  context.strokeStyle = "rgb(255 255 255 / 65%)";
  context.lineWidth = window.devicePixelRatio || 1;
  context.beginPath();
  for (const [a, b, c, d] of [[0, y, x - gap, y], [x + gap, y, canvas.width, y], [x, 0, x, y - gap], [x, y + gap, x, canvas.height]]) {
    context.moveTo(a, b);
    context.lineTo(c, d);
  }
  context.stroke();
}

function nameSides(context, canvas, [left, right, top, bottom]) {
  const size = 13 * (window.devicePixelRatio || 1), far = size * 0.35;
  context.font = `600 ${size}px system-ui, sans-serif`;
  context.textBaseline = "middle";
  context.lineWidth = size / 4;
  const write = (text, align, x, y) => {
    context.textAlign = align;
    context.strokeStyle = "black";
    context.strokeText(text, x, y);
    context.fillStyle = "white";
    context.fillText(text, x, y);
  };
  write(left, "left", far, canvas.height / 2);
  write(right, "right", canvas.width - far, canvas.height / 2);
  write(top, "center", canvas.width / 2, size * 0.75);
  write(bottom, "center", canvas.width / 2, canvas.height - size * 0.65);
}
