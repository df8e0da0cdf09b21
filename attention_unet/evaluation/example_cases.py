"""The picture of an evaluation: its worst, middle and best case."""

import logging
from collections.abc import Sequence
from pathlib import Path

from attention_unet.errors import DataError
from attention_unet.evaluation.evaluated_files import EvaluatedFiles
from attention_unet.evaluation.result_files import replacing_result
from attention_unet.evaluation.rows import Row, mean_dice
from attention_unet.files.prediction_folder import attention_path
from attention_unet.pictures.mosaic import Scene, save_mosaic
from attention_unet.scans.volumes import read_labels, read_volume

log = logging.getLogger(__name__)

PICTURE = "picture.png"


def write_example_cases(evaluation: Path, scored: EvaluatedFiles, rows: Sequence[Row]) -> dict[str, str]:
    """Draw ``picture.png``: the cases of lowest, middle and highest mean Dice, with attention at its finest level where
    there are maps; no picture if no predicted case has an image.

    Args:
        evaluation: folder to write it to.
        scored: the files of the cases.
        rows: their metrics.

    Returns:
        For each case that cannot be drawn the reason.
    """
    dice = mean_dice(rows)
    ranked = [case for case in dice if case in scored.predicted and scored.images[case]]
    scenes: list[Scene] = []
    failed: dict[str, str] = {}
    for case in dict.fromkeys([ranked[0], ranked[len(ranked) // 2], ranked[-1]] if ranked else []):
        try:
            scenes.append(_scene(scored, case, f"{case}\nDice {dice[case]:.3f}"))
        except DataError as error:
            failed[case] = str(error)
    if scenes:
        with replacing_result(evaluation, PICTURE) as path:
            save_mosaic(path, scenes, scored.labels.names)
        log.info("a picture lies in %s", evaluation / PICTURE)
    else:
        (evaluation / PICTURE).unlink(missing_ok=True)
    return failed


def _scene(scored: EvaluatedFiles, case: str, title: str) -> Scene:
    volume = read_volume(scored.images[case][0])
    reference, prediction = (read_labels(path) for path in (scored.references[case], scored.predicted[case]))
    maps = {
        f"level {level}": read_volume(attention_path(scored.predicted[case].parent, case, level)).array[0]
        for level in scored.attention_levels(case)[:1]
    }
    return Scene(
        title=title,
        affine=volume.affine,
        image=volume.array[0],
        reference=scored.labels.index(reference.array[0]),
        prediction=scored.labels.index(prediction.array[0]),
        attention=maps,
    )
