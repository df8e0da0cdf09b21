"""Test the plan on datasets that it was not tuned on: ``python benchmarks/any_dataset.py --minutes 4``

Phantom cohorts have the shapes of common MR datasets. Each is trained for a few minutes; only the budget is configured.
The held-out cases are predicted and scored. Structures are ellipsoids, each with its own position and intensity, among
other ellipsoids, with noise and a coil's bias field.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from publish import RESULTS, around, publish
from rich.table import Table

CASES, FOLDS = 8, 4  # six to train on, two held out
DISTRACTORS = 25
TISSUE, NOISE = 2.0, 0.2  # mean, standard deviation

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Cohort:
    """Kind of dataset."""

    name: str
    grid: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    channels: int
    classes: int
    radius_mm: tuple[float, float]  # smallest and largest class


COHORTS = [
    Cohort("whole heads, 1 mm", (160, 210, 170), (1.0, 1.0, 1.0), 1, 3, (8.0, 16.0)),
    Cohort("thick slices, 10 mm by 1.4 mm", (256, 256, 10), (1.4, 1.4, 10.0), 1, 3, (20.0, 40.0)),
    Cohort("four channels, tumours", (240, 240, 155), (1.0, 1.0, 1.0), 4, 3, (10.0, 25.0)),
    Cohort("one class", (96, 96, 60), (1.2, 1.2, 1.5), 1, 1, (9.0, 9.0)),
    Cohort("ten classes", (128, 128, 96), (1.0, 1.0, 1.2), 1, 10, (7.0, 13.0)),
]


def make(cohort: Cohort, folder: Path) -> None:
    """Write a cohort in Decathlon layout."""
    fixed = np.random.RandomState(1)  # shared by all cases
    extent = np.array(cohort.grid) * cohort.spacing_mm
    places = _apart(fixed, extent, cohort)
    radii = np.linspace(*cohort.radius_mm, cohort.classes)
    # Contrasts are at least three times the noise: smaller ones could hardly be seen.
    contrasts = (
        fixed.choice([-1, 1], size=(cohort.classes, cohort.channels)) * np.linspace(0.6, 1.6, cohort.classes)[:, None]
    )
    for number in range(CASES):
        random = np.random.RandomState(100 + number)
        axes = [np.arange(n) * s for n, s in zip(cohort.grid, cohort.spacing_mm, strict=True)]
        position = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).astype(np.float32)
        image = np.zeros((*cohort.grid, cohort.channels), dtype=np.float32)
        label = np.zeros(cohort.grid, dtype=np.uint8)
        image[_ellipsoid(position, extent / 2, extent * 0.45)] = TISSUE
        for _ in range(DISTRACTORS):
            inside = _ellipsoid(position, random.uniform(0.2, 0.8, 3) * extent, random.uniform(4, 12, 3))
            image[inside] = TISSUE + random.uniform(-1, 1, cohort.channels)
        for index in range(cohort.classes):
            centre = places[index] + random.uniform(-0.03, 0.03, 3) * extent
            inside = _ellipsoid(position, centre, radii[index] * random.uniform(0.8, 1.2, 3))
            image[inside] = TISSUE + contrasts[index] + random.uniform(-0.1, 0.1, cohort.channels)
            label[inside] = index + 1
        field = np.exp(0.3 * (position / extent - 0.5) @ random.uniform(-1, 1, 3))[..., None]
        image = 200 * np.abs(image * field + random.normal(0, NOISE, image.shape))
        affine = np.diag([*cohort.spacing_mm, 1.0])
        for part, array in (("imagesTr", image.squeeze().astype(np.float32)), ("labelsTr", label)):
            (folder / part).mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(array, affine), folder / part / f"case{number}.nii.gz")
    names = {str(i): name for i, name in enumerate(["background", *(f"class {i + 1}" for i in range(cohort.classes))])}
    files = [{"image": f"imagesTr/case{i}.nii.gz", "label": f"labelsTr/case{i}.nii.gz"} for i in range(CASES)]
    modality = {str(i): f"channel {i}" for i in range(cohort.channels)}
    (folder / "dataset.json").write_text(json.dumps({"modality": modality, "labels": names, "training": files}))


def _apart(random: np.random.RandomState, extent: Array, cohort: Cohort) -> Array:
    """Return class centres: of 300 random draws, the one with the largest gaps."""
    best, widest = np.empty(0), -1.0
    for _ in range(300):
        places = random.uniform(0.25, 0.75, size=(cohort.classes, 3)) * extent
        gaps = np.linalg.norm(places[:, None] - places[None], axis=-1) + 1e9 * np.eye(cohort.classes)
        if gaps.min() > widest:
            best, widest = places, float(gaps.min())
    return best


def _ellipsoid(position: NDArray[np.float32], centre: Array, radii: Array) -> NDArray[np.bool_]:
    inside: NDArray[np.bool_] = (((position - centre) / radii) ** 2).sum(axis=-1) < 1
    return inside


def attention_unet(*arguments: str) -> None:
    """Run the command line as a user does."""
    subprocess.run([sys.executable, "-m", "attention_unet", *arguments], check=True)


def main() -> None:
    """Make and cross-validate cohorts; print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=4.0, help="training minutes per cohort")
    parser.add_argument("--only", type=int, nargs="*", default=range(len(COHORTS)), help="indices of cohorts, from 0")
    parser.add_argument("--write", action="store_true", help="write the table into docs/results.md")
    options = parser.parse_args()
    if options.write:
        around(RESULTS, "any_dataset")
    table = Table()
    for heading in (
        "cohort",
        "channels",
        "classes",
        "patch",
        "levels",
        "kernels of the finest",
        "Dice",
        "lowest class",
    ):
        table.add_column(heading)
    with tempfile.TemporaryDirectory() as scratch:
        for number in options.only:
            cohort, folder = COHORTS[number], Path(scratch) / str(number)
            make(cohort, folder / "data")
            run, root = str(folder / "folds"), str(folder / "data")
            call = ["cross-validate", "--data.root", root, "--run", run, "--data.folds", str(FOLDS), "--only", "0"]
            attention_unet(*call, "--training.minutes", str(options.minutes), "--training.validations", "2")
            summary = json.loads((folder / "folds" / "summary.json").read_text())
            plan = json.loads((folder / "folds" / "fold0" / "plan.json").read_text())
            table.add_row(
                cohort.name,
                str(cohort.channels),
                str(cohort.classes),
                " x ".join(map(str, plan["patch"])),
                str(len(plan["architecture"]["kernels"])),
                "x".join(map(str, plan["architecture"]["kernels"][0])),
                f"{summary['foreground_mean']['dice']:.3f}",
                f"{min(of['dice']['mean'] for of in summary['classes'].values()):.3f}",
            )
    publish([table], [f"{options.minutes:g} minutes of training each."], [RESULTS] if options.write else [])


if __name__ == "__main__":
    main()
