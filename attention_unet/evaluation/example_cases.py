"""Draw the picture of an evaluation: its worst, middle and best case."""

import logging
from collections.abc import Sequence
from pathlib import Path

from attention_unet.dataset.reading import read_channels
from attention_unet.errors import noting_failure
from attention_unet.evaluation.evaluated_files import EvaluatedFiles
from attention_unet.evaluation.rows import Row, mean_dice
from attention_unet.pictures.figures import save_figure
from attention_unet.pictures.mosaic import Scene, draw_mosaic
from attention_unet.scans.volumes import check_same_grid, read_labels, read_volume

log = logging.getLogger(__name__)

PICTURE = "picture.png"


def write_example_cases(evaluation: Path, files: EvaluatedFiles, rows: Sequence[Row]) -> dict[str, str]:
    """Draw ``picture.png``: the cases with the lowest, the middle and the highest mean Dice that have an image.

    The first attention map of each is shown, if there is one. Return why cases failed, by case.
    """
    dice = mean_dice(rows)
    ranked = [case for case in dice if case in files.predicted and files.cases[case].images]
    scenes: list[Scene] = []
    failed: dict[str, str] = {}
    for case in dict.fromkeys([ranked[0], ranked[len(ranked) // 2], ranked[-1]] if ranked else []):
        with noting_failure(failed, case):
            scenes.append(_read_scene(files, case, f"{case}\nDice {dice[case]:.3f}"))
    if scenes:
        save_figure(draw_mosaic(scenes, files.labels.names), evaluation / PICTURE)
        log.info("example cases are in %s", evaluation / PICTURE)
    return failed


def _read_scene(files: EvaluatedFiles, case: str, title: str) -> Scene:
    volume, absent = read_channels(files.cases[case]), files.cases[case].absent
    channel = next(number for number in range(len(volume.array)) if number not in absent)
    reference, prediction = (read_labels(path) for path in (files.reference(case), files.predicted[case]))
    check_same_grid(volume, reference)
    maps = {place: read_volume(path) for place, path in [*files.attention_maps(case).items()][:1]}
    for weights in maps.values():
        check_same_grid(weights, reference)
    return Scene(
        title=title,
        image_title="image" if len(volume.array) == 1 else f"image, channel {channel}",
        affine=volume.affine,
        image=volume.array[channel],
        reference=files.labels.index(reference.array[0]),
        prediction=files.labels.index(prediction.array[0]),
        attention={place: weights.array[0] for place, weights in maps.items()},
    )
