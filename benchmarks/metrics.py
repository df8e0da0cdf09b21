"""Compare evaluation with MONAI's metrics: ``python benchmarks/metrics.py --data $ATTENTION_UNET_DATA``.

Both compute the same metrics of the same masks in memory: forty hippocampus cases predicted by the shipped model, and
ten synthetic volumes of 256^3 voxels with four classes. Ours also scores all classes as one. The notes time all of
``evaluate``, from compressed files to ``metrics.csv`` and ``summary.json``.
"""

import argparse
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
from monai.metrics import (
    compute_average_surface_distance,
    compute_dice,
    compute_hausdorff_distance,
    compute_iou,
    compute_surface_dice,
    get_confusion_matrix,
)
from numpy.typing import NDArray
from publish import median_and_range, parse, publish, table_of
from scipy import ndimage
from turns import Work, take_turns

from attention_unet.config import DataConfig
from attention_unet.dataset.cases import Case
from attention_unet.dataset.find_dataset import find_dataset
from attention_unet.dataset.reading import read_channels
from attention_unet.evaluation.evaluate import evaluate_cases
from attention_unet.evaluation.score import score_case
from attention_unet.inference.model_file import load_model
from attention_unet.inference.predict_volume import predict_volume
from attention_unet.inference.settings import Settings
from attention_unet.scans.labels import Labels
from attention_unet.scans.volume_files import volumes_by_case
from attention_unet.scans.volumes import Volume, read_labels, volume_of_array, write_like

TOLERANCE_MM = 1.0
LABELS = {"cases": Labels({"Anterior": (1,), "Posterior": (2,)}, (1, 2))}
LABELS["volumes"] = Labels({f"class {i}": (i,) for i in range(1, 5)}, (1, 2, 3, 4))
EDGE, RADIUS, WAVES = 256, 55, 6  # voxels


def write_cases(folder: Path, data: str | None, number: int) -> None:
    """Write real labels and predictions of the shipped model."""
    model = load_model("hippocampus")
    for case in find_dataset(DataConfig(root=data, dataset="Task04_Hippocampus")).cases[:number]:
        if case.label is not None:
            reference = read_labels(case.label)
            predicted = predict_volume([model], read_channels(case), Settings()).label_map
            _write(folder, case.id, reference, predicted, reference.array[0].astype(np.uint8))


def write_volumes(folder: Path, number: int) -> None:
    """Write four wavy balls; the waves of the prediction differ a little."""
    random = np.random.RandomState(0)
    away = np.indices((EDGE, EDGE, EDGE), dtype=np.float32)
    pattern = volume_of_array(np.zeros((EDGE, EDGE, EDGE), dtype=np.float32), np.diag([0.8, 0.8, 1.2, 1.0]))
    for i in range(number):
        common, own = (_waves(random) for _ in range(2))
        reference, predicted = (np.zeros((EDGE, EDGE, EDGE), dtype=np.uint8) for _ in range(2))
        for value, centre in enumerate(((75, 75, 75), (75, 180, 128), (180, 75, 180), (180, 180, 75)), start=1):
            distance = np.sqrt(sum((axis - c) ** 2 for axis, c in zip(away, centre, strict=True)))
            reference[distance + 5 * common < RADIUS] = value
            predicted[distance + 5 * common + own < RADIUS] = value
        _write(folder, f"volume{i}", pattern, predicted, reference)


def start_ours(folder: Path, what: str) -> tuple[None, Work]:
    """Return the work of our metrics, with a thread per case."""
    pairs = _pairs(folder)
    pool = ThreadPoolExecutor(torch.get_num_threads())

    def work() -> object:
        return list(pool.map(lambda p: score_case("", p[0], p[1], LABELS[what], p[2], TOLERANCE_MM), pairs))

    return None, work


def start_monai(folder: Path, what: str) -> tuple[None, Work]:
    """Return the work of MONAI's metrics."""
    pairs = _pairs(folder)
    classes = len(LABELS[what].names)

    def work() -> None:
        for predicted, reference, spacing_mm in pairs:
            masks = [
                torch.stack([torch.from_numpy(label_map == i) for i in range(1, classes + 1)])[None].float()
                for label_map in (predicted, reference)
            ]
            compute_dice(*masks)
            compute_iou(*masks)
            get_confusion_matrix(*masks)
            compute_hausdorff_distance(*masks, include_background=True, percentile=95, spacing=spacing_mm)
            compute_average_surface_distance(*masks, include_background=True, symmetric=True, spacing=spacing_mm)
            compute_surface_dice(*masks, [TOLERANCE_MM] * classes, include_background=True, spacing=spacing_mm)

    return None, work


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", help="folder of datasets (default: $ATTENTION_UNET_DATA or data)")
    parser.add_argument("--cases", type=int, default=40)
    parser.add_argument("--volumes", type=int, default=10)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    options = parse(parser)
    table = table_of("", "s", "lowest to highest", "times as fast")
    notes = []
    with tempfile.TemporaryDirectory() as temporary:
        cases, volumes = Path(temporary, "cases"), Path(temporary, "volumes")
        write_cases(cases, options.data, options.cases)
        write_volumes(volumes, options.volumes)
        for folder, number in ((cases, options.cases), (volumes, options.volumes)):
            starts = [partial(start, folder, folder.name) for start in (start_monai, start_ours)]
            _, (theirs, ours) = take_turns(starts, options.threads, options.turns)
            for name, taken in (("MONAI", theirs), ("ours", ours)):
                ratio = statistics.median(other / own for own, other in zip(taken, theirs, strict=True))
                table.add_row(f"{number} {folder.name}: {name}", *median_and_range(taken, 2), f"{ratio:.1f}")
            notes.append(f"evaluate, of the files of {number} {folder.name}: {_evaluated(folder):.1f} s.")
    publish([table], notes, options.documents)


def _evaluated(folder: Path) -> float:
    """Return the seconds from files to tables."""
    cases = [Case(path.name.removesuffix(".nii.gz"), (), path) for path in sorted((folder / "r").iterdir())]
    began = time.perf_counter()
    evaluate_cases(
        cases, volumes_by_case(folder / "p"), folder / "evaluation", LABELS[folder.name], tolerance_mm=TOLERANCE_MM
    )
    return time.perf_counter() - began


def _waves(random: np.random.RandomState) -> NDArray[np.float32]:
    """Return smooth noise of standard deviation 1 on the whole grid."""
    coarse = ndimage.gaussian_filter(random.normal(size=(EDGE // 4,) * 3).astype(np.float32), WAVES / 4)
    fine = ndimage.zoom(coarse / coarse.std(), 4, order=1)
    return np.asarray(fine, dtype=np.float32)


def _write(
    folder: Path, case: str, pattern: Volume, predicted: NDArray[np.generic], reference: NDArray[np.generic]
) -> None:
    for name, label_map in (("p", predicted), ("r", reference)):
        (folder / name).mkdir(parents=True, exist_ok=True)
        write_like(folder / name / f"{case}.nii.gz", label_map.astype(np.uint8), pattern)


def _pairs(folder: Path) -> list[tuple[NDArray[np.uint8], NDArray[np.uint8], tuple[float, float, float]]]:
    """Return prediction, reference and spacing of all cases."""
    found = []
    for path in sorted((folder / "r").iterdir()):
        reference, predicted = read_labels(path), read_labels(folder / "p" / path.name)
        found.append((predicted.array[0].astype(np.uint8), reference.array[0].astype(np.uint8), reference.spacing_mm))
    return found


if __name__ == "__main__":
    main()
