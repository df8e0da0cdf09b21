"""A whole training, from a configuration to a run folder."""

import dataclasses
import json
import logging
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
import yaml
from lightning_fabric import Fabric, seed_everything
from rich.console import Console

from attention_unet.atomic import write_text
from attention_unet.config import Config
from attention_unet.data.cache import CachedCases, CaseCache
from attention_unet.data.cases import Case, Dataset, find_cases, locate_dataset
from attention_unet.data.fingerprint import take_fingerprint
from attention_unet.data.patches import PatchDataset, ShareOfNumbers, load_patches
from attention_unet.data.plan import PLANNED, Plan, make_plan, settle
from attention_unet.data.splits import Split, read_split, split_cases, write_split
from attention_unet.devices import check_batch, leave_processes, make_fabric, precision_of, this_machine
from attention_unet.errors import ConfigError, DataError, UserError, counted
from attention_unet.inference.model import WEIGHTS
from attention_unet.memory import peak_memory, reuse_freed_memory
from attention_unet.network import AttentionUNet
from attention_unet.network.attention_unet import tell_attention
from attention_unet.progress import counting
from attention_unet.run_folder import CONFIG, PLAN, SPLIT
from attention_unet.training.budget import Budget
from attention_unet.training.checkpoint import STATE, LoopState, TrainingState, load_state
from attention_unet.training.fit import Training, fit
from attention_unet.training.interruption import noticing_signals
from attention_unet.training.learner import Learner, build_network
from attention_unet.training.monitor import Monitor

log = logging.getLogger(__name__)

MAY_CHANGE = (  # on resume: they change no number of a training, or as little as another device does
    "data.root",
    "data.workers",
    "data.cache",
    "training.checkpoint_minutes",
    "training.accelerator",
    "training.devices",
    "training.nodes",
)


class Interrupted(UserError):
    """The user stopped the training; its state is saved."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number


def train(config: Config, run: Path, resume: bool = False, console: Console | None = None) -> None:
    """Train a network as configured; all results lie in the run folder.

    Args:
        config: whole and checked.
        run: folder of the run; made if it is not there.
        resume: go on with the run in that folder, whose configuration must be the same.
        console: where to draw progress bars; the standard error stream if None.

    Raises:
        ConfigError: if the folder holds another run, or the configuration does not fit the data.
        DataError: if a file of the dataset is not what it should be.
        Diverged: if the gradient is no longer finite.
        Interrupted: if the user stopped the training.
    """
    console = console or Console(stderr=True)
    dataset = find_cases(locate_dataset(config.data.root, config.data.dataset))
    state = _claim_folder(run, config, resume)
    fabric = make_fabric(config.training)
    fabric.launch()
    reuse_freed_memory()
    if state:
        split, plan = _read_settled(run, dataset)
    else:  # by one process: another may have another machine, and plan otherwise
        split, plan = fabric.broadcast(_settle(config, dataset) if fabric.is_global_zero else None)
    check_batch(plan.batch, fabric.world_size)
    seed_everything(config.training.seed, workers=False, verbose=False)
    network = build_network(plan)
    if fabric.is_global_zero and not state:
        _write_settled(run, config, split, plan)
    training_cases = [case for case in dataset.cases if case.id in split.training]
    held_out = [case for case in dataset.cases if case.id in split.validation]
    patches = PatchDataset(
        _prepare_cases(config, training_cases, held_out, plan, run, fabric, console),
        plan,
        config.data.foreground_share,
        config.augmentation,
        config.training.seed,
    )
    learner = Learner(network, config.training, fabric, plan.labels.overlapping)
    budget, loop = Budget.of(config.training, len(training_cases), plan.batch), LoopState()
    if state:
        learner.restore(state.learner)
        budget.elapsed_before, budget.reserve = state.elapsed, state.reserve
        loop = state.loop
    numbers = ShareOfNumbers(learner.step, plan.batch, fabric.global_rank, fabric.world_size)
    batches = load_patches(patches, numbers, config.data.workers, fabric.device)
    precision = precision_of(config.training.precision, fabric.device)
    monitor = None
    with noticing_signals() as caught, logging_to(run / "train.log", fabric.is_global_zero):
        if fabric.is_global_zero:
            monitor = Monitor(run, plan.labels.names, state.history if state else [], learner.step, console)
            _announce(network, split, plan, fabric, precision)
        training = Training(
            run, config.training, plan, learner, batches, held_out, budget, monitor, precision, lambda: bool(caught)
        )
        try:
            finished = fit(training, loop)
        finally:
            if monitor is not None:
                monitor.close()
        if finished and fabric.is_global_zero:
            held = peak_memory(fabric.device)
            log.info("the model lies in %s%s", run, f"; peak memory {held / 2**30:.1f} GiB" if held else "")
    leave_processes(fabric)
    if not finished:
        number = caught[0] if caught else signal.SIGINT  # another process was asked to stop
        raise Interrupted(f"stopped and saved: go on with 'attention-unet train --resume --run {run}'", number)


@contextmanager
def logging_to(path: Path, wanted: bool) -> Iterator[None]:
    """Write what is logged to a file as well, if wanted."""
    if not wanted:
        yield
        return
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    logger = logging.getLogger("attention_unet")
    level = logger.level
    logger.setLevel(min(level or logging.INFO, logging.INFO))
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        handler.close()


def _claim_folder(run: Path, config: Config, resume: bool) -> TrainingState | None:
    """Check that the folder is free, or holds the run to resume; a run that never saved a state begins anew."""
    first_process = os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")) == "0"
    if not resume:
        for name in (STATE, WEIGHTS):
            if (run / name).exists() and first_process:  # for the others, the first may have written it just now
                go_on = "continue it with --resume, or " if name == STATE else ""
                raise ConfigError(f"{run}: already holds a run ({name}): {go_on}name another with --run")
        return None
    before = read_config(run)
    changed = [
        f"{section}.{name} was {before.get(section, {}).get(name)}, is {value}"
        for section, fields in dataclasses.asdict(config).items()
        for name, value in fields.items()
        if before.get(section, {}).get(name) != value
        and f"{section}.{name}" not in MAY_CHANGE
        and not (value is None and f"{section}.{name}" in PLANNED)
    ]
    if changed:
        raise ConfigError(
            f"{run}: another configuration cannot be resumed: {'; '.join(changed)}: undo that, or name a new --run"
        )
    return load_state(run / STATE) if (run / STATE).exists() else None


def read_config(run: Path) -> dict[str, dict[str, object]]:
    """Plain values of the configuration of a run.

    Raises:
        ConfigError: if the folder holds none.
    """
    try:
        plain = yaml.safe_load((run / CONFIG).read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"{run}: holds no run ({error}): expected the folder that a training made") from error
    return dict(plain)


def _settle(config: Config, dataset: Dataset) -> tuple[Split, Plan]:
    """Decide what the configuration leaves open."""
    split = split_cases([c.id for c in dataset.cases], config.data.folds, config.data.fold, config.data.split_seed)
    return split, make_plan(config, dataset, take_fingerprint(dataset.cases), this_machine(config.training))


def _write_settled(run: Path, config: Config, split: Split, plan: Plan) -> None:
    """Write what was decided, in the configuration and by itself: the run can be repeated from these alone."""
    write_text(run / CONFIG, yaml.safe_dump(dataclasses.asdict(settle(config, plan)), sort_keys=False))
    write_text(run / PLAN, json.dumps(plan.to_json(), indent=2) + "\n")
    write_split(run / SPLIT, split)


def _read_settled(run: Path, dataset: Dataset) -> tuple[Split, Plan]:
    """Split and plan of a run to resume, whose cases must still be there."""
    split = read_split(run / SPLIT)
    missing = sorted({*split.training, *split.validation} - {case.id for case in dataset.cases})
    if missing:
        raise DataError(f"{dataset.root}: {len(missing)} cases of the run are not there: {missing[:5]}: put them back")
    return split, Plan.from_json(json.loads((run / PLAN).read_text(encoding="utf-8")))


def _prepare_cases(
    config: Config,
    training: Sequence[Case],
    held_out: Sequence[Case],
    plan: Plan,
    run: Path,
    fabric: Fabric,
    console: Console,
) -> CachedCases:
    """Prepare every case once, so that a fault of any shows now; one process on a machine does it, others wait."""
    folder = Path(config.data.cache) if config.data.cache else run.parent / "cache"
    cache = CaseCache(folder, plan.preprocessing, plan.labels, len(plan.channels))
    with fabric.rank_zero_first(local=True):
        if fabric.local_rank == 0:
            with counting(console, "preparing cases", len(training) + len(held_out)) as done:
                cache.add([*training, *held_out], done)
    return cache.open(training)


def _announce(network: AttentionUNet, split: Split, plan: Plan, fabric: Fabric, precision: torch.dtype) -> None:
    log.info(
        "%s to train on, %d held out; %.2f million parameters on %s in %s; patches of %s",
        counted(len(split.training), "case"),
        len(split.validation),
        sum(p.numel() for p in network.parameters()) / 1e6,
        fabric.device,
        str(precision).removeprefix("torch."),
        " x ".join(map(str, plan.patch)),
    )
    log.info("attention by level, 0 the finest: %s", tell_attention(network.architecture))
