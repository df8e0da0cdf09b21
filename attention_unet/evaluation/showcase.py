"""The picture of an evaluation: its worst, middle and best cases."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from attention_unet.data.predictions import attention_levels, attention_path
from attention_unet.data.volumes import read_labels, read_volume
from attention_unet.errors import DataError
from attention_unet.evaluation.picture import Scene, save_mosaic
from attention_unet.evaluation.result_files import replacing_result
from attention_unet.evaluation.rows import from_csv, mean_dice
from attention_unet.evaluation.scored import Scored, read_scored

PICTURE = "picture.png"


def draw_showcase(evaluation: Path) -> Path:
    """Draw ``picture.png`` beside ``metrics.csv``: the cases of lowest, middle and highest mean Dice.

    Attention is shown at its finest level where predictions have maps of it.

    Raises:
        DataError: if there is no prediction, or the image of a case is not there.
    """
    scored, dice = read_scored(evaluation), mean_dice(from_csv(evaluation / "metrics.csv"))
    ranked = [case for case in dice if case in scored.predicted]
    if not ranked:
        raise DataError(f"{scored.predictions}: holds no prediction of these cases: nothing to draw")
    chosen = dict.fromkeys([ranked[0], ranked[len(ranked) // 2], ranked[-1]])
    scenes = [_scene(scored, case, f"{case}\nDice {dice[case]:.3f}") for case in chosen]
    with replacing_result(evaluation, PICTURE) as path:
        save_mosaic(path, scenes, scored.labels.names)
    return evaluation / PICTURE


def _scene(scored: Scored, case: str, title: str) -> Scene:
    if not scored.images[case]:
        raise DataError(f"{case}: has no image: expected the scans that were predicted; name their folder by --images")
    volume = read_volume(scored.images[case][0])
    reference, prediction = (read_labels(path) for path in (scored.references[case], scored.predicted[case]))
    return Scene(
        title=title,
        affine=volume.affine,
        image=volume.array[0],
        reference=scored.labels.index(reference.array[0]),
        prediction=scored.labels.index(prediction.array[0]),
        attention=_finest_attention(scored.predictions, case),
    )


def _finest_attention(predictions: Path, case: str) -> dict[str, NDArray[np.float32]]:
    levels = attention_levels(predictions, case)[:1]
    return {f"level {level}": read_volume(attention_path(predictions, case, level)).array[0] for level in levels}
