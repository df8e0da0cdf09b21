"""Warnings about the cases of an evaluation, for readers of the scores."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from attention_unet.errors import MAX_NAMES, first_few, plural
from attention_unet.files.prediction_record import read_record, was_changed
from attention_unet.scans.volume_files import stem

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CaseWarnings:
    """Warnings about the cases of an evaluation.

    Attributes:
        missing_predictions: cases without a prediction; they count as empty predictions.
        failed: reason by case, for cases that could not be scored; they are in no mean.
        unknown_labels: by case, integers in its masks that belong to no class; they count as background.
        trained_on: cases that a model behind the predictions was trained on.
        same_name: cases with the id of a training case, but another image.
        same_files: whether the predictions are the references.
        unknown_training: whether the training cases of the model are not recorded.
        edited: cases whose mask was changed after prediction.
    """

    missing_predictions: Sequence[str] = ()
    failed: Mapping[str, str] = field(default_factory=dict)
    unknown_labels: Mapping[str, Sequence[int]] = field(default_factory=dict)
    trained_on: Sequence[str] = ()
    same_name: Sequence[str] = ()
    same_files: bool = False
    unknown_training: bool = False
    edited: Sequence[str] = ()

    def sentences(self, cases: int) -> list[str]:
        """Return one sentence per warning. ``cases`` is the number of scored cases."""
        unknown = sorted({label for labels in self.unknown_labels.values() for label in labels})
        more = f" and {len(unknown) - MAX_NAMES} more" if len(unknown) > MAX_NAMES else ""
        integers = ", ".join(map(str, unknown[:MAX_NAMES])) + more
        missing, seen, same_name = map(len, (self.missing_predictions, self.trained_on, self.same_name))
        found = [
            (f"{missing} of {cases} cases have no prediction and are scored as empty: ", self.missing_predictions),
            (f"{plural(len(self.failed), 'case')} could not be scored, left out of all means: ", self.failed),
            (f"labels that belong to no class are scored as background: {integers}, in ", self.unknown_labels),
            (
                f"{seen} of {cases} cases are training cases of the model, their scores are too good: ",
                self.trained_on,
            ),
            (
                f"{same_name} of {cases} cases have the id of a training case, but another image; if they show the "
                "same scan or person, their scores are too good: ",
                self.same_name,
            ),
            (f"{plural(len(self.edited), 'mask')} changed after prediction, scored with the changes: ", self.edited),
        ]
        sentences = [text + first_few(names) for text, names in found if names]
        if self.unknown_training:
            sentences.append("the training cases of the model are not recorded: scores of training cases are too good")
        if self.same_files:
            sentences.append("predictions and references are the same files: the scores mean nothing")
        return sentences


def read_provenance(predicted: Mapping[str, Path]) -> CaseWarnings:
    """Return the warnings from ``run.json``: cases that the models were trained on, masks changed after prediction."""
    records = {folder: read_record(folder) for folder in {path.parent for path in predicted.values()}}
    for folder, record in records.items():
        if record.get("complete") is False:
            log.warning("%s: its prediction is not finished: repeat it with --resume", folder)
    by_match: dict[str | None, list[str]] = {}
    for case, path in predicted.items():
        facts = records[path.parent].get("cases", {}).get(stem(path))
        if facts is not None:
            match = facts.get("trained_on", "unknown")
            by_match.setdefault(match if isinstance(match, str) else None, []).append(case)
    return CaseWarnings(
        trained_on=by_match.get("image", []),
        same_name=by_match.get("name", []),
        unknown_training="unknown" in by_match,
        edited=[case for case, path in predicted.items() if was_changed(path.parent, records[path.parent], stem(path))],
    )
