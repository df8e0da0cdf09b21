"""Plan all folds of a cross-validation once, also if several processes train them."""

import json
import logging
from pathlib import Path
from typing import Any

from attention_unet.config import Config
from attention_unet.dataset.cases import Dataset
from attention_unet.files.json_file import read_object, write_json
from attention_unet.files.lock import LONG_PATIENCE, folder_lock
from attention_unet.files.run_folder import PLAN
from attention_unet.machine.devices import choose_device
from attention_unet.preparation.fingerprint import take_fingerprint
from attention_unet.preparation.plan import Plan, read_plan
from attention_unet.preparation.planning import make_plan
from attention_unet.training.checkpoint import STATE
from attention_unet.training.resolved_settings import MAY_CHANGE, without_paths
from attention_unet.training.same_data import check_classes
from attention_unet.training.starting_weights import starting_plan
from attention_unet.training.trial import measure_machine

log = logging.getLogger(__name__)

WITHOUT_PLAN = {"data.fold", "training.seed", *MAY_CHANGE} - {"training.accelerator"}  # a plan does not depend on them


def read_or_make_plan(config: Config, folder: Path, dataset: Dataset) -> Plan:
    """Return the plan of all folds: that of an earlier call, or a new one.

    A plan of another configuration is made anew if no fold has begun with it. Raise DataError if the plan is damaged,
    or the dataset has other classes.
    """
    file, given = folder / PLAN, _planned_from(config)
    with folder_lock(folder, LONG_PATIENCE):
        if file.exists():
            plan = read_plan(file)
            runs = [folder / f"fold{fold}" for fold in range(config.data.folds)]
            begun = any((run / PLAN).exists() or (run / STATE).exists() for run in runs)
            if begun or read_object(file).get("config", given) == given:
                check_classes(plan, dataset)
                return plan
            log.info("%s: is of another configuration, and no fold has begun: planning anew", file)
        machine, start = measure_machine(config.training), starting_plan(config)
        fingerprint = take_fingerprint(dataset.cases, dataset.labels, start)
        plan = make_plan(config, dataset, fingerprint, machine, start=start)
        write_json(file, {**plan.to_json(), "config": given})
    return plan


def _planned_from(config: Config) -> dict[str, Any]:
    """Return the fields of a configuration that a plan depends on, as JSON values; they are the same for all folds."""
    fields = (
        (f"{section}.{name}", value) for section, of in without_paths(config).items() for name, value in of.items()
    )
    plain = {name: value for name, value in fields if name not in WITHOUT_PLAN}
    plain["training.accelerator"] = choose_device(config.training.accelerator).type  # "auto" differs between machines
    return dict(json.loads(json.dumps(plain)))
