"""Compare plans at equal work: ``python benchmarks/plans.py --work 0.5 2``.

A plan is a voxel size and a patch. Every training sees the same number of voxels, in units of 10^9: about what two
cores compute in 14 minutes. Trainings run several at a time, for machines with many cores or a GPU.
"""

import argparse
import csv
import json
import math
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import Pool
from pathlib import Path

import nibabel as nib
import numpy as np
from hard_phantoms import atrium, short_axis

PLANS: dict[str, list[tuple[list[float], list[int]]]] = {
    "short_axis": [
        ([1.5, 1.5, 10], [104, 104, 10]),
        ([1.5, 1.5, 10], [216, 256, 10]),
        ([2.0, 2.0, 10], [128, 128, 10]),
        ([2.5, 2.5, 10], [64, 64, 10]),
        ([2.5, 2.5, 10], [104, 104, 10]),
        ([2.5, 2.5, 10], [128, 160, 10]),
        ([1.5, 1.5, 10], [216, 256, 1]),
        ([2.5, 2.5, 10], [128, 160, 1]),
    ],
    "atrium": [
        ([0.625] * 3, [48, 48, 48]),
        ([0.625] * 3, [64, 64, 64]),
        ([0.625] * 3, [96, 96, 88]),
        ([0.9] * 3, [64, 64, 64]),
        ([0.9] * 3, [128, 96, 64]),
        ([1.25] * 3, [48, 48, 48]),
        ([1.25] * 3, [88, 72, 44]),
        ([1.8] * 3, [64, 48, 32]),
    ],
    "OASIS_Subcortical": [
        ([1.0] * 3, [48, 48, 48]),
        ([1.0] * 3, [64, 64, 64]),
        ([1.0] * 3, [80, 80, 80]),
        ([1.0] * 3, [112, 112, 112]),
        ([1.5] * 3, [48, 48, 48]),
        ([1.5] * 3, [64, 64, 64]),
        ([1.5] * 3, [96, 112, 96]),
        ([2.0] * 3, [80, 96, 80]),
    ],
}
CASES = 32
PHANTOMS = {"short_axis": short_axis, "atrium": atrium}


def write_case(job: tuple[str, int, Path]) -> None:
    """Write one phantom."""
    name, number, folder = job
    phantom = PHANTOMS[name](np.random.RandomState([7, number]))
    affine = np.diag([*phantom.spacing_mm, 1.0])
    for part, array in (("imagesTr", phantom.image[..., 0]), ("labelsTr", phantom.label)):
        nib.save(nib.Nifti1Image(array, affine), folder / part / f"case_{number:03d}.nii.gz")


def make(name: str, root: Path) -> None:
    """Write a dataset of phantoms."""
    folder = root / name
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
    with Pool() as pool:
        pool.map(write_case, [(name, number, folder) for number in range(CASES)], chunksize=1)
    classes = {"short_axis": ["left", "wall", "right"], "atrium": ["atrium"]}[name]
    files = [f"case_{number:03d}.nii.gz" for number in range(CASES)]
    description = {
        "modality": {"0": "MR"},
        "labels": {"0": "background", **{str(i + 1): each for i, each in enumerate(classes)}},
        "training": [{"image": f"imagesTr/{each}", "label": f"labelsTr/{each}"} for each in files],
    }
    (folder / "dataset.json").write_text(json.dumps(description))


def run(job: tuple[str, list[float], list[int], float, Path, Path]) -> list[str]:
    """Cross-validate one fold with one plan."""
    name, spacing, patch, work, root, runs = job
    flat = 1 in patch
    batch = 8 if flat else 2
    steps = max(math.ceil(work * 1e9 * (2 if flat else 1) / (batch * math.prod(patch))), 20)
    title = f"{name}-{spacing[0]}-{'x'.join(map(str, patch))}-{work}"
    call = [sys.executable, "-m", "attention_unet", "cross-validate", "--data.root", str(root), "--data.dataset", name]
    call += ["--run", str(runs / title), "--only", "0", "--data.cache", str(runs / f"cache-{name}-{spacing[0]}")]
    call += ["--data.spacing_mm", json.dumps(spacing), "--data.patch", json.dumps(patch), "--data.folds", "4"]
    call += ["--network.base_channels", "16", "--training.batch", str(batch), "--training.steps", str(steps)]
    call += ["--training.validations", "4", "--data.workers", "0", "--network.dims", "2" if flat else "3"]
    done = subprocess.run(call, capture_output=True, text=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "2"})
    row = [name, f"{spacing[0]:g}", " x ".join(map(str, patch)), f"{work:g}", str(steps)]
    try:
        summary = json.loads((runs / title / "summary.json").read_text())["foreground_mean"]
        history = list(csv.DictReader((runs / title / "fold0" / "history.csv").open()))
        row += [f"{float(each['dice']):.3f}" for each in history]
        row += [f"{summary['dice']:.3f}", f"{summary['hd95_mm']:.1f}", f"{float(history[-1]['minutes']):.2f}"]
    except (OSError, KeyError) as error:
        row += [str(error), done.stdout[-300:], done.stderr[-300:]]
    print(json.dumps(row), flush=True)
    return row


def main() -> None:
    """Run all plans, the least work first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with OASIS_Subcortical")
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--work", type=float, nargs="+", default=[0.5, 2.0])
    parser.add_argument("--together", type=int, default=7)
    options = parser.parse_args()
    jobs = []
    for name in PLANS:
        root = options.data
        if not (root / name).exists():
            root = options.runs / "data"
            make(name, root)
        for spacing, patch in PLANS[name]:
            jobs += [(name, spacing, patch, work, root, options.runs) for work in options.work]
    jobs.sort(key=lambda job: (job[3], PLANS[job[0]].index((job[1], job[2]))))
    with ThreadPoolExecutor(options.together) as pool:
        list(pool.map(run, jobs))


if __name__ == "__main__":
    main()
