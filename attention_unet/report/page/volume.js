// Unpack the voxels of a case when it is opened.

const IGNORED = 255; // in the reference, where nobody annotated

async function loadVolume(name) {
  const script = [...document.querySelectorAll("script.voxels")].find((candidate) => candidate.dataset.case === name);
  const packed = Uint8Array.from(atob(script.textContent), (letter) => letter.charCodeAt(0));
  const unpacked = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new CaseVolume(name, report.shown[name], new Uint8Array(await new Response(unpacked).arrayBuffer()));
}

class CaseVolume {
  constructor(name, facts, bytes) {
    let first = 0;
    const take = (shape) => bytes.subarray(first, (first += shape[0] * shape[1] * shape[2]));
    this.name = name;
    this.facts = facts;
    this.shape = facts.shape;
    this.strides = [1, facts.shape[0], facts.shape[0] * facts.shape[1]];
    this.channels = facts.channels.map(() => take(facts.shape));
    const reference = take(facts.shape);
    this.ignored = reference.map((label) => label === IGNORED);
    this.reference = reference.map((label) => (label === IGNORED ? 0 : label));
    this.prediction = take(facts.shape);
    this.maps = facts.maps.map((map) => take(map.shape));
  }

  // Return whether prediction and reference differ in a voxel that is annotated.
  differs(index) {
    return this.prediction[index] !== this.reference[index] && !this.ignored?.[index];
  }

  indexOf(voxel) {
    return voxel[0] + this.strides[1] * voxel[1] + this.strides[2] * voxel[2];
  }

  // Return the value as in the file, or approximately if a byte does not hold it exactly.
  valueAt(channel, voxel) {
    const { low, high, exact } = this.facts.channels[channel], byte = this.channels[channel][this.indexOf(voxel)];
    const step = (high - low) / 255, value = low + byte * step;
    if (exact) return readable(value, 0);
    const text = readable(value, Math.max(0, Math.ceil(-Math.log10(step))));
    return byte === 0 ? `≤ ${text}` : byte === 255 ? `≥ ${text}` : `about ${text}`;
  }

  mapAt(map, voxel) {
    const { shape, per_shown: by } = this.facts.maps[map];
    const [a, b, c] = voxel.map((index, axis) => Math.min(Math.floor((index + 0.5) * by[axis]), shape[axis] - 1));
    return this.maps[map][a + shape[0] * (b + shape[1] * c)];
  }

  transform(matrix, voxel) {
    return matrix.map((row) => row[0] * voxel[0] + row[1] * voxel[1] + row[2] * voxel[2] + row[3]);
  }

  // Return a voxel in the largest difference: in the slice, and then in the row, with the largest wrong share of the classes.
  // Without a difference, the same for all classes; without classes, the middle.
  startVoxel() {
    const [nx, ny, nz] = this.shape, { reference, prediction } = this, sizes = new Float64Array(256);
    const predicted = (i) => (this.facts.predicted ? prediction[i] : reference[i]);
    for (let i = 0; i < reference.length; i++) sizes[reference[i] || predicted(i)]++;
    for (const wrong of [true, false]) {
      const share = (i) => { const label = reference[i] || predicted(i); return label && (!wrong || (this.facts.predicted && this.differs(i))) ? 1 / sizes[label] : 0; };
      const shareOf = (first, end) => { let sum = 0; for (let i = first; i < end; i++) sum += share(i); return sum; };
      const z = indexOfLargest(nz, (k) => shareOf(k * nx * ny, (k + 1) * nx * ny));
      if (z === null) continue;
      const y = indexOfLargest(ny, (j) => shareOf((z * ny + j) * nx, (z * ny + j + 1) * nx));
      const row = Array.from({ length: nx }, (_, x) => x).filter((x) => share((z * ny + y) * nx + x));
      return [row[row.length >> 1], y, z];
    }
    return this.shape.map((n) => n >> 1);
  }
}

function indexOfLargest(length, valueAt) {
  let largest = 0, index = null;
  for (let i = 0; i < length; i++) {
    const value = valueAt(i);
    if (value > largest) [largest, index] = [value, i];
  }
  return index;
}
