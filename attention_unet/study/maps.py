"""Check the attention maps of each arm of a study on held-out cases, against those of a second training."""

import logging
from pathlib import Path
from typing import Any

from attention_unet.config import AttentionConfig
from attention_unet.errors import ConfigError
from attention_unet.explanation.explain import explain_run
from attention_unet.explanation.findings import MIN_PERSONS
from attention_unet.files.json_file import parse_object, write_json
from attention_unet.files.run_folder import PLAN
from attention_unet.study.design import Cell, Study
from attention_unet.study.finished import CELLS, MAPS, RUNS, finished_record
from attention_unet.study.registration import Registration

log = logging.getLogger(__name__)


def check_maps(study: Study, registration: Registration, folder: Path, cases: int) -> None:
    """Check the maps of some held-out cases by the first training of each arm with attention, as ``explain`` does.

    What is done is kept. Raise ConfigError if there are too few cases for a finding, or a training is not finished.
    """
    if cases < MIN_PERSONS:
        raise ConfigError(f"--maps is {cases}: expected at least {MIN_PERSONS} cases, as fewer give no finding")
    known = read_maps(study, registration, folder)
    for arm, config in study.arms.items():
        of_arm = config.attention
        plain = AttentionConfig(skips="identity", levels=of_arm.levels, init=of_arm.init)
        if of_arm == plain or (arm in known and known[arm]["asked"] >= cases):
            continue
        seeds, fold, output = study.seeds[arm][:2], study.folds[0], folder / MAPS / f"{arm}.json"
        cells = [Cell(arm, study.most_persons, seed, fold) for seed in seeds]
        records = [record for cell in cells if (record := finished_record(registration, cell, folder))]
        if missing := {cell.name for cell in cells} - {record.cell.name for record in records}:
            raise ConfigError(f"{folder}: {min(missing)} is not finished: its maps cannot be checked: train it first")
        first, *second = (folder / RUNS / cell.group / f"fold{fold}" for cell in cells)
        if not (first / PLAN).exists():
            raise ConfigError(
                f"{first}: is not there, as this training was made elsewhere: repeat --maps on that machine, or remove "
                f"{folder / CELLS / cells[0].name}.json and train it again"
            )
        log.info("maps of %s", arm)
        data = study.arms[arm].data
        root = str(Path(data.dataset).parent) if Path(data.dataset).is_absolute() else data.root
        found, failed = explain_run(first, second[0] if second else None, cases, root, "auto")
        for reason in failed.values():
            log.warning("%s: not checked: %s", arm, reason)
        if not found["cases"]:
            raise ConfigError(f"{first}: no case could be checked: {next(iter(failed.values()), 'none is scored')}")
        first_scores, *second_scores = (record.scores_sha256 for record in records)
        known_by = {
            "arm_sha256": registration.digest_of_arm(arm),
            "scores_sha256": first_scores,
            "second_sha256": "".join(second_scores),
        }
        write_json(output, {**known_by, "asked": cases, **found})


def read_maps(study: Study, registration: Registration, folder: Path) -> dict[str, dict[str, Any]]:
    """Return the results of each arm whose maps were checked. Those of an arm that has changed since are left out.

    Raise DataError if a file is damaged.
    """
    maps = {}
    for arm in study.arms:
        file = folder / MAPS / f"{arm}.json"
        if file.exists():
            sha256, scores, found = parse_object(file, _check, "remove it, and repeat --maps")
            cells = [Cell(arm, study.most_persons, seed, study.folds[0]) for seed in study.seeds[arm][:2]]
            records = [finished_record(registration, cell, folder) for cell in cells]
            now = [record.scores_sha256 if record else "missing" for record in records] + [""]
            if sha256 != registration.digest_of_arm(arm):
                log.warning("%s: left out, as the arm has changed since: repeat --maps", file)
            elif records[0] and all(known in (None, new) for known, new in zip(scores, now, strict=False)):
                maps[arm] = found
            else:
                log.warning("%s: left out, as the training was repeated since: repeat --maps", file)
    return maps


def _check(plain: dict[str, Any]) -> tuple[str, list[str | None], dict[str, Any]]:
    sentences = [str(text) for text in list(plain["sentences"])]
    cases = [
        {"dice": {str(name): None if dice is None else float(dice) for name, dice in case["dice"].items()}}
        for case in plain["cases"]
    ]
    if isinstance(plain["sentences"], str):
        raise ValueError("sentences is a text: expected a list")
    found = {"asked": int(plain["asked"]), "sentences": sentences, "cases": cases}
    scores = [plain.get(name) for name in ("scores_sha256", "second_sha256")]  # None: of an earlier version
    return str(plain["arm_sha256"]), scores, found
