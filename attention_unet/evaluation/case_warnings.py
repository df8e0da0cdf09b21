"""What a reader of scores should know of their cases."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from attention_unet.errors import MAX_NAMES, DataError, first_few, plural
from attention_unet.files.json_file import read_object


@dataclass(frozen=True)
class CaseWarnings:
    """Remarks on the cases of an evaluation.

    Attributes:
        missing_predictions: cases without a prediction, which count as empty predictions.
        failed: cases that could not be compared, and why; they count nowhere.
        unknown_labels: of each case the integers of its masks that no class has, which count as background.
        trained_on: cases that a model behind the predictions was trained on.
        same_name: cases with the id of a training case, but another image.
        same_files: whether the predictions are the references.
        unknown_training: whether the model does not say what it was trained on.
        edited: cases whose mask was changed after it was predicted.
    """

    missing_predictions: Sequence[str] = ()
    failed: Mapping[str, str] = field(default_factory=dict)
    unknown_labels: Mapping[str, Sequence[int]] = field(default_factory=dict)
    trained_on: Sequence[str] = ()
    same_name: Sequence[str] = ()
    same_files: bool = False
    unknown_training: bool = False
    edited: Sequence[str] = ()

    def sentences(self, scored: int) -> list[str]:
        """In plain words, for so many scored cases."""
        said = []
        if self.missing_predictions:
            told = f"{len(self.missing_predictions)} of {scored} without prediction, scored as empty"
            said.append(f"{told}: {first_few(self.missing_predictions)}")
        if self.failed:
            said.append(f"{plural(len(self.failed), 'case')} could not be scored, in no mean: {first_few(self.failed)}")
        if self.unknown_labels:
            labels = sorted({label for found in self.unknown_labels.values() for label in found})
            more = "" if len(labels) <= MAX_NAMES else f" and {len(labels) - MAX_NAMES} more"
            told = f"labels {', '.join(map(str, labels[:MAX_NAMES]))}{more} are of no class, scored as background"
            said.append(f"{told}: in {first_few(self.unknown_labels)}")
        if self.trained_on:
            told = f"{len(self.trained_on)} of {scored} were trained on by the model, their scores flatter"
            said.append(f"{told}: {first_few(self.trained_on)}")
        if self.same_name:
            told = f"{len(self.same_name)} of {scored} have the id of a training case of the model, but another image"
            said.append(
                f"{told}; if they are the same scan or person, their scores flatter: {first_few(self.same_name)}"
            )
        if self.unknown_training:
            said.append("the model does not say what it was trained on: scores of training cases would flatter")
        if self.edited:
            text = f"{plural(len(self.edited), 'mask')} changed after the model predicted, scored as they are now"
            said.append(f"{text}: {first_few(self.edited)}")
        if self.same_files:
            said.append("predictions and references are the same files: the scores say nothing")
        return said


def read_case_warnings(evaluation: Path) -> tuple[CaseWarnings, dict[str, Any]]:
    """Remarks and settings of a ``summary.json``.

    Raises:
        DataError: if it does not tell them.
    """
    file = evaluation / "summary.json"
    plain = read_object(file)
    try:
        remarks = CaseWarnings(
            [str(case) for case in plain["missing_predictions"]],
            {str(case): str(reason) for case, reason in plain["failed"].items()},
            {str(case): [int(label) for label in labels] for case, labels in plain["unknown_labels"].items()},
            [str(case) for case in plain["trained_on"]],
            [str(case) for case in plain.get("same_name", [])],
            bool(plain.get("same_files", False)),
            bool(plain.get("unknown_training", False)),
            [str(case) for case in plain.get("edited", [])],
        )
        return remarks, dict(plain["settings"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{file}: lacks what evaluate writes ({error!r}): evaluate again") from error
