"""A whole training, from a configuration to a run folder."""

import dataclasses
import logging
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch
import yaml
from lightning_fabric import Fabric, seed_everything
from torch import Tensor

from attention_unet.config import Config
from attention_unet.dataset.case_facts import CaseFacts, check_trainable, shorten, warnings_about
from attention_unet.dataset.cases import Case, Dataset, find_cases, locate_dataset
from attention_unet.dataset.splits import Split, late_cases
from attention_unet.dataset.subjects import find_similar_cases
from attention_unet.errors import ConfigError, UserError, first_few, plural
from attention_unet.files.lock import folder_lock
from attention_unet.files.run_folder import CONFIG, HISTORY, MODEL_DESCRIPTION, PATHS, PLAN, SPLIT, SUBJECTS, WEIGHTS
from attention_unet.machine.devices import check_batch, leave_processes, make_fabric, precision_of
from attention_unet.machine.memory import peak_memory, reuse_freed_memory
from attention_unet.machine.progress import progress_bar
from attention_unet.network import AttentionUNet
from attention_unet.network.attention_unet import describe_attention
from attention_unet.preparation.cache import CachedCases, CaseCache
from attention_unet.preparation.patches import PatchDataset, ShareOfNumbers, load_patches
from attention_unet.preparation.plan import Plan
from attention_unet.training.budget import Budget, same_budget
from attention_unet.training.checkpoint import STATE, LoopState, TrainingState, load_state
from attention_unet.training.curves import CURVES
from attention_unet.training.faults import reporting_faults
from attention_unet.training.fit import Training, fit
from attention_unet.training.interruption import catching_signals
from attention_unet.training.learner import Learner, build_network
from attention_unet.training.monitor import Monitor
from attention_unet.training.resolved_settings import (
    ResolvedSettings,
    read_resolved_settings,
    resolve_settings,
    resume_settings,
    write_resolved_settings,
)
from attention_unet.training.same_data import check_dataset, with_digests

log = logging.getLogger(__name__)

WRITTEN = (CONFIG, PATHS, PLAN, SPLIT, SUBJECTS, HISTORY, MODEL_DESCRIPTION, CURVES)  # files that a training writes


class Interrupted(UserError):
    """The user stopped the training; its state is saved."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number


def train(
    config: Config,
    run: Path,
    resume: bool = False,
    override: bool = False,
    digests: Mapping[str, str] | None = None,
) -> None:
    """Train a network as configured; all results lie in the run folder.

    Args:
        config: whole and checked.
        run: folder of the run; made if it is not there.
        resume: go on with the run in that folder, whose configuration must be the same,
        override: but for budget, learning rate and augmentation, if so.
        digests: of image and label of cases as other runs found them: those of this run must be the same.

    Raises:
        ConfigError: if the folder holds another run or another process writes there, or the configuration does not fit
            the data or the memory.
        DataError: if a file of the dataset is not what it should be.
        Diverged: if the gradient is no longer finite.
        Interrupted: if the user stopped the training.
        Lost: if a process of the training has died.
    """
    dataset = find_cases(locate_dataset(config.data.root, config.data.dataset))
    fabric = make_fabric(config.training)
    first = fabric.global_rank == 0
    with folder_lock(run) if first else nullcontext(), reporting_faults(run, fabric.device, fabric.world_size):
        state = _claim_folder(run, resume) if first else None  # once no other can change it
        settled = resume_settings(read_resolved_settings(state, run / STATE), config, override, run) if state else None
        fabric.launch()
        if resume and not first and (run / STATE).exists():
            state = load_state(run / STATE)
            settled = resume_settings(read_resolved_settings(state, run / STATE), config, override, run)
        _train(config, dataset, run, fabric, state, settled, digests or {})


def _train(
    config: Config,
    dataset: Dataset,
    run: Path,
    fabric: Fabric,
    state: TrainingState | None,
    settled: ResolvedSettings | None,
    digests: Mapping[str, str],
) -> None:
    """Train in a folder of its own, in processes that have been started."""
    reuse_freed_memory()
    if settled:
        check_dataset(settled, dataset)
    else:  # by one process: another may have another machine, and plan otherwise
        settled = fabric.broadcast(resolve_settings(config, dataset) if fabric.is_global_zero else None)
    split, plan, chosen = settled.split, settled.plan, settled.config.training
    check_batch(plan.batch, fabric.world_size)
    seed_everything(chosen.seed, workers=False, verbose=False)
    network = build_network(plan)
    if fabric.is_global_zero:
        write_resolved_settings(run, settled, config)
    training_cases = [case for case in dataset.cases if case.id in split.training]
    held_out = [case for case in dataset.cases if case.id in split.validation]
    cached, facts = _prepare_cases(config, training_cases, held_out, settled, run, fabric)
    settled = with_digests(dataclasses.replace(settled, digests={**digests, **settled.digests}), facts)
    late = [] if held_out else late_cases([case.id for case in training_cases], settled.subjects, chosen.seed)
    data, augmentation = settled.config.data, settled.config.augmentation
    early, every = (
        PatchDataset(cases, plan, data.foreground_share, augmentation, chosen.seed)
        for cases in (cached.without(late), cached)
    )
    learner = Learner(network, chosen, fabric, plan.labels.overlapping)
    budget, loop = Budget.of(chosen, len(training_cases), plan.batch), LoopState()
    if state:
        learner.restore(state.learner)
        budget.elapsed_before, budget.reserve = state.elapsed, state.reserve
        budget.steps_before = learner.step
        loop = state.loop
        if not same_budget(Config.from_plain(state.settled["config"]).training, chosen):
            loop.validations = min(loop.validations, int(budget.progress(learner.step) * chosen.validations + 1e-9))

    def open_batches(step: int, with_late: bool) -> Iterator[tuple[Tensor, Tensor]]:
        numbers = ShareOfNumbers(step, plan.batch, fabric.global_rank, fabric.world_size)
        return load_patches(every if with_late else early, numbers, config.data.workers, fabric.device)

    def cases_of(step: int) -> list[str]:
        patches = every if loop.with_late else early
        return [patches.case_of(step * plan.batch + i) for i in range(plan.batch)]

    precision = precision_of(chosen.precision, fabric.device)
    monitor = None
    with catching_signals() as caught, logging_to(run / "train.log", fabric.is_global_zero):
        if fabric.is_global_zero:
            history, text = state.history if state else [], (run / CONFIG).read_text(encoding="utf-8")
            monitor = Monitor(run, plan.labels.names, history, learner.step, text)
            _announce(network, split, plan, fabric, precision)
        training = Training(
            run,
            settled,
            learner,
            open_batches,
            held_out,
            [case for case in training_cases if case.id in late],
            budget,
            monitor,
            precision,
            stop=lambda: bool(caught),
            cases_of=cases_of,
        )
        try:
            finished = fit(training, loop)
        finally:
            if monitor is not None:
                monitor.close()
        if finished and fabric.is_global_zero:
            held = peak_memory(fabric.device)
            log.info("trained%s", f"; peak memory {held / 2**30:.1f} GiB" if held else "")
    leave_processes(fabric)
    if not finished:
        number = caught[0] if caught else signal.SIGINT  # another process was asked to stop
        raise Interrupted(f"stopped and saved: go on with 'attention-unet train --resume --run {run}'", number)


class _LogFile(logging.FileHandler):
    """A file that a training can do without: on a full disk, what matters is told elsewhere."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        pass


@contextmanager
def logging_to(path: Path, wanted: bool) -> Iterator[None]:
    """Write what is logged to a file as well, if wanted and possible."""
    try:
        handler = _LogFile(path, encoding="utf-8", errors="backslashreplace") if wanted else None
    except OSError as error:
        log.warning("%s: cannot be written (%s): the training goes on without", path, error.strerror)
        handler = None
    if handler is None:
        yield
        return
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
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


def _claim_folder(run: Path, resume: bool) -> TrainingState | None:
    """Check that the folder is free, or holds the run to resume; a run that never saved a state begins anew."""
    if not resume:
        for name in (STATE, WEIGHTS):
            if (run / name).exists():
                how = "continue it with --resume, or " if name == STATE else ""
                raise ConfigError(f"{run}: already holds a run ({name}): {how}name another with --run")
        others = [name for name in WRITTEN if (run / name).exists()]
        if others and not all((run / name).exists() for name in (CONFIG, PATHS, PLAN, SPLIT)):
            raise ConfigError(
                f"{run}: holds {first_few(others)}, which no training wrote: name another folder with --run"
            )
        return None
    if not (run / CONFIG).is_file():
        raise ConfigError(f"{run}: holds no run: expected the folder that a training made, with its {CONFIG}")
    if (run / WEIGHTS).exists() and not (run / STATE).exists():
        raise ConfigError(f"{run}: holds a model, but no {STATE} to go on from: put it back, or name a new --run")
    return load_state(run / STATE) if (run / STATE).exists() else None


def read_config(run: Path) -> Config:
    """The configuration of a run.

    Raises:
        ConfigError: if the folder holds none.
    """
    try:
        return Config.from_plain(yaml.safe_load((run / CONFIG).read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError, TypeError, KeyError, AttributeError, ValueError) as error:
        raise ConfigError(f"{run}: holds no run ({error}): expected the folder that a training made") from error


def _prepare_cases(
    config: Config,
    training: Sequence[Case],
    held_out: Sequence[Case],
    settled: ResolvedSettings,
    run: Path,
    fabric: Fabric,
) -> tuple[CachedCases, list[CaseFacts]]:
    """Prepare every case once, so that a fault of any shows now; one process on a machine does it, others wait.

    Returns:
        The prepared training cases, and the facts of all cases.
    """
    folder = Path(config.data.cache) if config.data.cache else run.parent / "cache"
    plan = settled.plan
    cache = CaseCache(folder, plan.preprocessing, plan.labels, len(plan.channels))
    with fabric.rank_zero_first(local=True):
        if fabric.local_rank == 0:
            with progress_bar("preparing cases", len(training) + len(held_out)) as done:
                cache.add([*training, *held_out], done)
        facts = cache.facts([*training, *held_out])
        if fabric.local_rank == 0:
            _look_at(facts, [case.id for case in held_out], settled)
    return cache.open(training), facts


def _look_at(facts: Sequence[CaseFacts], held_out: Sequence[str], settled: ResolvedSettings) -> None:
    """Refuse cases that cannot be learned from, and warn about the odd ones."""
    names = settled.plan.labels.names
    remarks = [*check_trainable(facts, held_out, names), *([] if settled.subjects else find_similar_cases(facts))]
    for remark in shorten([*warnings_about(facts, names), *remarks]):
        log.warning("%s", remark)


def _announce(network: AttentionUNet, split: Split, plan: Plan, fabric: Fabric, precision: torch.dtype) -> None:
    log.info(
        "%s to train on, %d held out; %.2f million parameters on %s in %s; patches of %s",
        plural(len(split.training), "case"),
        len(split.validation),
        sum(p.numel() for p in network.parameters()) / 1e6,
        fabric.device,
        str(precision).removeprefix("torch."),
        " x ".join(map(str, plan.patch)),
    )
    log.info("attention by level, 0 the finest: %s", describe_attention(network.architecture))
