"""Read ``CASE_labels.json``, in which predict describes the structures of a mask."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attention_unet.files.json_file import parse_object
from attention_unet.files.prediction_folder import structures_path

COLUMNS = ("name", "volume_ml", "mean", "sd", "components", "touches_edge", "expected_dice")
Structure = Mapping[str, Any]  # value of each column


def read_structures(folder: Path, case: str) -> list[Structure]:
    """Return the structures of a predicted case in class order; [] without a file. Raise DataError if it is damaged."""
    file = structures_path(folder, case)
    return parse_object(file, _parse, "predict this case again") if file.is_file() else []


def mean_expected_dice(structures: Sequence[Structure]) -> float:
    """Return the mean expected Dice of the classes; a class without mask counts as 0."""
    return sum(each["expected_dice"] or 0.0 for each in structures) / len(structures)


def _parse(plain: Mapping[str, Any]) -> list[Structure]:
    structures: list[Structure] = [{name: each[name] for name in COLUMNS} for each in plain["labels"].values()]
    for each in structures:
        for name, value in (("volume_ml", each["volume_ml"]), ("expected_dice", each["expected_dice"] or 0)):
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ValueError(f"{name} is {value!r}")
        if not 0 <= (each["expected_dice"] or 0) <= 1:
            raise ValueError(f"expected_dice is {each['expected_dice']!r}")
    return structures
