"""Compare results and speed with those of an earlier commit: ``python benchmarks/since.py 41ec104``

Both versions run the same commands in turns, each on its own files: they train on four datasets, predict ten scans in
four formats with the shipped model, and evaluate masks. The script reports which results are the same bit for bit,
how large the other differences are, and the ratio of the times.
"""

import argparse
import csv
import json
import os
import statistics
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from cohort_data import make
from nibabel.eulerangles import euler2mat
from publish import REPOSITORY, median_and_range, publish, run
from rich.table import Table
from safetensors.numpy import load_file

HIPPOCAMPUS, HEADS, PHANTOM = "Task04_Hippocampus", "OASIS_Subcortical", "Phantom"
FORMATS = (".nii.gz", ".nii", ".nrrd", ".mha")
SCANS, LARGE_SCANS = 10, 2
ALL_OUTPUTS = ("--attention-maps", "--probabilities", "--uncertainty")
FEW_STEPS = 2  # of the trainings that are run for their plans


def training(inputs: Path, output: Path, dataset: str, steps: int) -> list[str | Path]:
    """Return the command that trains on a dataset."""
    settings = ["--training.steps", str(steps), "--training.validations", "1"]
    folders: list[str | Path] = ["--data.root", inputs, "--run", output / dataset, "--data.cache", f"{output}-cache"]
    return ["train", "--data.dataset", dataset, *folders, *settings]


def prediction(scans: Path, output: Path) -> list[str | Path]:
    """Return the command that predicts scans with the shipped model."""
    return ["predict", "-i", scans, "-m", "hippocampus", "-o", output]


def evaluation(masks: Path, references: Path, output: Path) -> list[str | Path]:
    """Return the command that evaluates masks."""
    return ["evaluate", "-p", masks, "-r", references, "-o", output]


def volumes(folder: Path) -> list[Path]:
    """Return the NIfTI files of a folder."""
    return sorted(folder.glob("[!.]*.nii.gz"))


def write_scans(dataset: Path, folder: Path) -> None:
    """Write scans in all formats; every second one with other axes and a tilted grid."""
    folder.mkdir()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    tilt = euler2mat(0.1, 0.2, -0.1)
    for i, file in enumerate(volumes(dataset / "imagesTr")[:SCANS]):
        image = nib.load(file)
        if i % 2:
            image = image.as_reoriented(nib.orientations.axcodes2ornt(("P", "S", "L")))
            affine = image.affine.copy()
            affine[:3] = tilt @ affine[:3]
            image = nib.Nifti1Image(np.asanyarray(image.dataobj), affine)
        name, ending = file.name.removesuffix(".nii.gz"), FORMATS[i % len(FORMATS)]
        nib.save(image, folder / f"{name}.nii.gz")
        if ending != ".nii.gz":
            sitk.WriteImage(sitk.ReadImage(str(folder / f"{name}.nii.gz")), str(folder / f"{name}{ending}"))
            (folder / f"{name}.nii.gz").unlink()


def write_masks(dataset: Path, folder: Path) -> None:
    """Write label maps that differ from the true ones: shifted by a voxel."""
    folder.mkdir()
    for file in volumes(dataset / "labelsTr"):
        image = nib.load(file)
        nib.save(nib.Nifti1Image(np.roll(np.asanyarray(image.dataobj), 1, axis=0), image.affine), folder / file.name)


def files_of(folder: Path) -> dict[str, Path]:
    """Return all files by their path in a folder."""
    return {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}


def numbers_in(value: object, name: str = "") -> Iterator[tuple[str, object]]:
    """Yield every value of a JSON object with its path."""
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from numbers_in(inner, f"{name}/{key}")
    else:
        yield name, value


def describe_difference(old: Path, new: Path) -> str:
    """Return how two files differ; empty if their content is the same."""
    if old.name.endswith(FORMATS):
        first, second = (sitk.ReadImage(str(path)) for path in (old, new))
        grids = [(i.GetSize(), i.GetSpacing(), i.GetOrigin(), i.GetDirection()) for i in (first, second)]
        arrays = [sitk.GetArrayFromImage(image).astype(np.float64) for image in (first, second)]
        if grids[0] != grids[1] or first.GetPixelID() != second.GetPixelID():
            return "other grid or type"
        differ = np.abs(arrays[0] - arrays[1])
        return f"{np.count_nonzero(differ)} voxels, by up to {differ.max():.3g}" if differ.any() else ""
    if old.suffix == ".safetensors":
        tensors = [load_file(path) for path in (old, new)]
        if tensors[0].keys() != tensors[1].keys():
            return "other tensors"
        most = max(float(np.abs(tensors[0][name] - tensors[1][name]).max()) for name in tensors[0])
        return f"weights differ by up to {most:.3g}" if most else ""
    if old.suffix == ".csv":
        rows = [list(csv.DictReader(path.open(encoding="utf-8"))) for path in (old, new)]
        shared = [name for name in rows[0][0] if name in rows[1][0] and name not in ("minutes", "seconds")]
        columns = [name for name in shared if [r[name] for r in rows[0]] != [r[name] for r in rows[1]]]
        other = sorted({*rows[0][0]} ^ {*rows[1][0]})
        return "; ".join([*(f"column {name}" for name in columns), *(f"only one has {name}" for name in other)])
    if old.suffix == ".json":
        values = [dict(numbers_in(json.loads(path.read_text(encoding="utf-8")))) for path in (old, new)]
        other = [key for key in values[0] | values[1] if values[0].get(key) != values[1].get(key)]
        return f"{len(other)} of {len(values[0] | values[1])} values: {', '.join(other[:8])}" if other else ""
    return "" if old.read_bytes() == new.read_bytes() else "other bytes"


def main() -> None:
    """Run both versions and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("commit", help="the earlier commit")
    parser.add_argument("--data", default=os.environ.get("ATTENTION_UNET_DATA", "data"), help="folder of datasets")
    parser.add_argument("--steps", type=int, default=200, help="steps of the training that is compared")
    parser.add_argument("--turns", type=int, default=3, help="turns of each command that is timed")
    parser.add_argument("--keep", type=Path, help="folder that keeps the results of both versions")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder, earlier = (options.keep or Path(scratch)).resolve(), Path(scratch) / "earlier"
        earlier.mkdir()
        archive = subprocess.run(["git", "-C", REPOSITORY, "archive", options.commit], capture_output=True, check=True)
        subprocess.run(["tar", "-x", "-C", earlier], input=archive.stdout, check=True)
        inputs = Path(scratch) / "inputs"
        inputs.mkdir()
        for name in (HIPPOCAMPUS, HEADS):
            (inputs / name).symlink_to((Path(options.data) / name).resolve())
        slices = make("short_axis", Path(options.data), inputs).name
        run("phantom", "--root", inputs)
        write_scans(inputs / HIPPOCAMPUS, inputs / "scans")
        write_masks(inputs / HEADS, inputs / "masks")
        (inputs / "heads").mkdir()
        for file in volumes(inputs / HEADS / "imagesTr")[:LARGE_SCANS]:
            (inputs / "heads" / file.name).symlink_to(file)
        seconds: dict[str, list[list[float]]] = {}
        for turn in range(options.turns):
            for side, version in enumerate((earlier, REPOSITORY)):
                output = folder / ("earlier", "now")[side] if turn == 0 else Path(scratch) / f"turn{turn}-{side}"
                for name in (HEADS, PHANTOM, slices) if turn == 0 else ():
                    run(*training(inputs, output, name, FEW_STEPS), version=version)
                commands: dict[str, list[str | Path]] = {
                    "train": training(inputs, output, HIPPOCAMPUS, options.steps),
                    "predict": [*prediction(inputs / "scans", output / "predictions"), *ALL_OUTPUTS],
                    "predict heads": prediction(inputs / "heads", output / "heads"),
                    "evaluate": evaluation(inputs / "masks", inputs / HEADS / "labelsTr", output / "evaluation"),
                }
                for name, command in commands.items():
                    seconds.setdefault(name, [[], []])[side].append(run(*command, version=version))
        _publish(folder, seconds, options.commit)


def _publish(folder: Path, seconds: dict[str, list[list[float]]], commit: str) -> None:
    """Print both tables."""
    results, times = Table("file", "difference"), Table("command", f"{commit}, s", "now, s", "now / before", "range")
    old, new = files_of(folder / "earlier"), files_of(folder / "now")
    same = 0
    for name in sorted(old | new):
        if name not in old or name not in new:
            difference = f"only {'now' if name in new else 'before'}"
        else:
            difference = describe_difference(old[name], new[name])
        same += not difference
        if difference:
            results.add_row(name, difference)
    for name, (before, now) in seconds.items():
        ratios = [after / earlier for earlier, after in zip(before, now, strict=True)]
        each = [f"{statistics.median(values):.1f}" for values in (before, now)]
        times.add_row(name, *each, *median_and_range(ratios, 2))
    publish([results, times], [f"{same} files are the same bit for bit, or differ in nothing but times."], [])


if __name__ == "__main__":
    main()
