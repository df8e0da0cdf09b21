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

  // Where prediction and reference differ most, slice by slice along each axis; else where there is most to see.
  tellingVoxel() {
    const [nx, ny, nz] = this.shape, differ = [0, 1, 2].map((axis) => new Uint32Array(this.shape[axis])), present = differ.map((of) => of.slice());
    let i = 0;
    for (let z = 0; z < nz; z++) for (let y = 0; y < ny; y++) for (let x = 0; x < nx; x++, i++) {
      const true_ = this.reference[i], said = this.told.predicted ? this.prediction[i] : true_;
      if (true_ !== said) { differ[0][x]++; differ[1][y]++; differ[2][z]++; }
      if (true_ || said) { present[0][x]++; present[1][y]++; present[2][z]++; }
    }
    const all = 1 + this.reference.length; // of slices that differ as much, that with the most to see
    const worth = (axis) => Array.from(differ[axis], (count, place) => count + present[axis][place] / all);
    return [0, 1, 2].map((axis) => { const of = worth(axis), most = Math.max(...of); return most ? of.indexOf(most) : this.shape[axis] >> 1; });
  }
}
