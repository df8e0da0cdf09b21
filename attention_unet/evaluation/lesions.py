"""Count lesions: how many connected components of the reference were found, and how many predicted ones are true."""

import logging
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from attention_unet.errors import noting_failure
from attention_unet.evaluation.evaluated_files import EvaluatedFiles
from attention_unet.files.atomic import write_text
from attention_unet.files.csv_text import csv_text
from attention_unet.machine.progress import progress_bar
from attention_unet.scans.foreground import BY_CORNERS
from attention_unet.scans.labels import Labels, mask_of
from attention_unet.scans.volumes import read_labels

log = logging.getLogger(__name__)

LESIONS = "components.csv"


class Lesions(NamedTuple):
    """Numbers of connected components of a class, of one or more cases."""

    reference: int  # components of the reference
    found: int  # those of them that share a voxel with the prediction
    predicted: int  # components of the prediction
    true: int  # those of them that share a voxel with the reference

    @property
    def sensitivity(self) -> float:
        """Share of the true components that were found; NaN if the reference has no component."""
        return self.found / self.reference if self.reference else float("nan")

    @property
    def precision(self) -> float:
        """Share of the predicted components that are true; NaN if the prediction has no component."""
        return self.true / self.predicted if self.predicted else float("nan")

    @property
    def f1(self) -> float:
        """Harmonic mean of sensitivity and precision; 0 if only one mask has components, NaN if none has."""
        if not (self.reference and self.predicted):
            return 0.0 if self.reference or self.predicted else float("nan")
        both = self.sensitivity + self.precision
        return 2 * self.sensitivity * self.precision / both if both else 0.0


def write_lesions(evaluation: Path, files: EvaluatedFiles) -> dict[str, str]:
    """Write ``components.csv``. Return why cases failed, by case."""
    rows: list[Sequence[object]] = []
    by_class: dict[str, list[Lesions]] = {}
    failed: dict[str, str] = {}
    if files.labels.ignore is not None:
        log.warning("components are those of annotated voxels: ignored voxels cut one into several")
    with progress_bar("components", len(files.cases)) as done:
        for name, case in files.cases.items():
            with noting_failure(failed, name):
                reference = read_labels(files.reference(name)).array[0]
                mask = files.predicted.get(name)
                prediction = np.zeros_like(reference) if mask is None else read_labels(mask).array[0]
                for each, counts in count_lesions(prediction, reference, files.labels, case.unannotated).items():
                    by_class.setdefault(each, []).append(counts)
                    shares = (f"{share:.6g}" for share in (counts.sensitivity, counts.precision, counts.f1))
                    rows.append([name, each, *counts, *shares])
            done()
    head = ["case", "class", *Lesions._fields, "sensitivity", "precision", "f1"]
    write_text(evaluation / LESIONS, csv_text([head, *rows]))
    for each, of_cases in by_class.items():
        total = Lesions(*map(sum, zip(*of_cases, strict=True)))
        log.info(
            "%s, components of all cases: %d of %d found, %d of %d predicted ones true, F1 %.3f",
            *(each, total.found, total.reference, total.true, total.predicted, total.f1),
        )
    return failed


def count_lesions(
    prediction: NDArray[np.generic], reference: NDArray[np.generic], labels: Labels, unannotated: Collection[str] = ()
) -> dict[str, Lesions]:
    """Return the numbers of components of each annotated class of a case. Ignored voxels count as background."""
    known = True if labels.ignore is None else reference != labels.ignore
    found = {}
    for name, group in labels.integers.items():
        if name not in unannotated:
            predicted, true = (mask_of(label_map, group) & known for label_map in (prediction, reference))
            both = predicted & true
            (of_true, true_count), (of_predicted, predicted_count) = (
                ndimage.label(mask, BY_CORNERS) for mask in (true, predicted)
            )
            hits, correct = (np.unique(components[both]).size for components in (of_true, of_predicted))
            found[name] = Lesions(true_count, hits, predicted_count, correct)
    return found
