// The voxels of a case, unpacked when it is opened.

async function loadVolume(name) {
  const kept = [...document.querySelectorAll("script.voxels")].find((script) => script.dataset.case === name);
  const packed = Uint8Array.from(atob(kept.textContent), (letter) => letter.charCodeAt(0));
  const unpacked = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new CaseVolume(name, report.shown[name], new Uint8Array(await new Response(unpacked).arrayBuffer()));
}

class CaseVolume {
  constructor(name, told, bytes) {
    let first = 0;
    const take = (shape) => bytes.subarray(first, (first += shape[0] * shape[1] * shape[2]));
    this.name = name;
    this.told = told;
    this.shape = told.shape;
    this.strides = [1, told.shape[0], told.shape[0] * told.shape[1]];
    this.channels = told.channels.map(() => take(told.shape));
    this.reference = take(told.shape);
    this.prediction = take(told.shape);
    this.maps = told.maps.map((map) => take(map.shape));
  }

  at(voxel) {
    return voxel[0] + this.strides[1] * voxel[1] + this.strides[2] * voxel[2];
  }

  // As the file has it, or about so: bytes tell 255 steps apart.
  valueAt(channel, voxel) {
    const { low, high, exact } = this.told.channels[channel], byte = this.channels[channel][this.at(voxel)];
    const step = (high - low) / 255, value = low + byte * step;
    if (exact) return readable(value, 0);
    const text = readable(value, Math.max(0, Math.ceil(-Math.log10(step))));
    return byte === 0 ? `≤ ${text}` : byte === 255 ? `≥ ${text}` : `about ${text}`;
  }

  mappedAt(map, voxel) {
    const { shape, per_shown: by } = this.told.maps[map];
    const [a, b, c] = voxel.map((place, axis) => Math.min(Math.floor((place + 0.5) * by[axis]), shape[axis] - 1));
    return this.maps[map][a + shape[0] * (b + shape[1] * c)];
  }

  moved(matrix, voxel) {
    return matrix.map((row) => row[0] * voxel[0] + row[1] * voxel[1] + row[2] * voxel[2] + row[3]);
  }

  // A voxel amid what differs most: in the slice, and there in the row, with the largest share of a class; else of what there is.
  tellingVoxel() {
    const [nx, ny, nz] = this.shape, { reference, prediction } = this, sizes = new Float64Array(256);
    const said = (i) => (this.told.predicted ? prediction[i] : reference[i]);
    for (let i = 0; i < reference.length; i++) sizes[reference[i] || said(i)]++;
    for (const wrong of [true, false]) {
      const share = (i) => { const own = reference[i] || said(i); return own && (!wrong || reference[i] !== said(i)) ? 1 / sizes[own] : 0; };
      const shareOf = (first, end) => { let sum = 0; for (let i = first; i < end; i++) sum += share(i); return sum; };
      const z = placeOfMost(nz, (k) => shareOf(k * nx * ny, (k + 1) * nx * ny));
      if (z === null) continue;
      const y = placeOfMost(ny, (j) => shareOf((z * ny + j) * nx, (z * ny + j + 1) * nx));
      const row = Array.from({ length: nx }, (_, x) => x).filter((x) => share((z * ny + y) * nx + x));
      return [row[row.length >> 1], y, z];
    }
    return this.shape.map((n) => n >> 1);
  }
}

function placeOfMost(length, valueAt) {
  let most = 0, place = null;
  for (let i = 0; i < length; i++) {
    const value = valueAt(i);
    if (value > most) [most, place] = [value, i];
  }
  return place;
}
