"""Check the attention maps of each arm of a study on held-out cases, against those of a second training."""

import logging
from pathlib import Path
from typing import Any

from attention_unet.errors import ConfigError
from attention_unet.explanation.explain import explain_run
from attention_unet.files.atomic import write_text
from attention_unet.files.json_file import parse_object
from attention_unet.files.run_folder import EXPLANATION, HELD_OUT, PLAN
from attention_unet.preparation.plan import read_plan
from attention_unet.study.cells import RUNS, is_done
from attention_unet.study.design import Cell, Study

log = logging.getLogger(__name__)

MAPS = "maps"  # folder of the results


def check_maps(study: Study, folder: Path, cases: int) -> None:
    """Check the maps of the first training of each arm with attention, as ``explain`` does. What is done is kept.

    Args:
        study: the study, with planned values filled in.
        folder: folder of the study.
        cases: number of held-out cases to check.

    Raises:
        ConfigError: if a training is not finished.
    """
    for arm in study.arms:
        seeds, fold, output = study.seeds[arm][:2], study.folds[0], folder / MAPS / f"{arm}.json"
        cells = [Cell(arm, study.largest_size, seed, fold) for seed in seeds]
        if missing := [cell.name for cell in cells if not is_done(study, cell, folder)]:
            raise ConfigError(f"{folder}: {missing[0]} is not finished: its maps cannot be checked: train it first")
        first, *second = (folder / RUNS / cell.group / f"fold{fold}" for cell in cells)
        architecture = read_plan(first / PLAN).architecture
        if output.exists() or architecture == architecture.without_attention():
            continue
        log.info("maps of %s", arm)
        explain_run(first, second[0] if second else None, cases, None, "auto")
        write_text(output, (first / HELD_OUT / EXPLANATION).read_text(encoding="utf-8"))


def read_maps(study: Study, folder: Path) -> dict[str, dict[str, Any]]:
    """Return the results of each arm whose maps were checked.

    Raises:
        DataError: if a file is damaged.
    """
    files = {arm: folder / MAPS / f"{arm}.json" for arm in study.arms}
    advice = "remove it, and repeat --maps"
    return {arm: parse_object(file, _check, advice) for arm, file in files.items() if file.exists()}


def _check(plain: dict[str, Any]) -> dict[str, Any]:
    return {"sentences": list(plain["sentences"]), "cases": [{"dice": dict(case["dice"])} for case in plain["cases"]]}
