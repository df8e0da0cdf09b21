"""The picture of an evaluation: its worst, middle and best cases."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from attention_unet.data.cases import group_channels
from attention_unet.data.labels import Labels
from attention_unet.data.predictions import attention_path
from attention_unet.data.volumes import list_volumes, read_labels, read_volume, volumes_by_case
from attention_unet.errors import DataError
from attention_unet.evaluation.picture import Scene, save_mosaic
from attention_unet.evaluation.rows import from_csv, mean_dice


def draw_showcase(predictions: Path, references: Path, images: Path, evaluation: Path, labels: Labels) -> Path:
    """Draw ``picture.png`` beside ``metrics.csv``: the cases of lowest, middle and highest mean Dice.

    Attention is shown at its finest level where predictions have maps of it.

    Raises:
        DataError: if the image of a case is not there.
    """
    dice = mean_dice(from_csv(evaluation / "metrics.csv"))
    predicted, referenced = volumes_by_case(predictions), volumes_by_case(references)
    ranked = [case for case in dice if case in predicted]
    if not ranked:
        raise DataError(f"{predictions}: holds no prediction of these cases: nothing to draw")
    chosen = dict.fromkeys([ranked[0], ranked[len(ranked) // 2], ranked[-1]])
    scans = group_channels(list_volumes(images), wanted=dice)
    scenes = []
    for case in chosen:
        if case not in scans:
            raise DataError(f"{images}: holds no image of {case}: expected the scans that were predicted")
        volume = read_volume(scans[case][0])
        scenes.append(
            Scene(
                title=f"{case}\nDice {dice[case]:.3f}",
                affine=volume.affine,
                image=volume.array[0],
                reference=labels.index(read_labels(referenced[case]).array[0]),
                prediction=labels.index(read_labels(predicted[case]).array[0]),
                attention=_finest_attention(predictions, case),
            )
        )
    path = evaluation / "picture.png"
    save_mosaic(path, scenes, labels.names)
    return path


def _finest_attention(predictions: Path, case: str) -> tuple[int, NDArray[np.float32]] | None:
    for level in range(16):
        path = attention_path(predictions, case, level)
        if path.is_file():
            return level, read_volume(path).array[0]
    return None
