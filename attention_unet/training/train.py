"""Train a network: from a configuration to a run folder."""

import dataclasses
import logging
import math
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path

import torch
import yaml
from lightning_fabric import Fabric

from attention_unet.config import Config
from attention_unet.dataset.cases import Dataset
from attention_unet.dataset.find_dataset import find_dataset
from attention_unet.errors import ConfigError
from attention_unet.files.lock import folder_lock
from attention_unet.files.run_folder import CONFIG
from attention_unet.files.strict_yaml import load_strictly
from attention_unet.inference.locator import Locator
from attention_unet.inference.model import Model
from attention_unet.machine.devices import (
    apart_from_caller,
    check_batch,
    choose_device,
    choose_precision,
    devices_and_nodes,
    leave_processes,
    make_fabric,
    repeatable,
)
from attention_unet.machine.memory import reuse_freed_memory
from attention_unet.network import AttentionUNet
from attention_unet.training.batches import Batches
from attention_unet.training.budget import Budget
from attention_unet.training.checkpoint import STATE, LoopState, TrainingState
from attention_unet.training.claim import claim_folder
from attention_unet.training.faults import reporting_faults
from attention_unet.training.fit import fit, save_training
from attention_unet.training.interruption import Interrupted, catching_signals
from attention_unet.training.learner import Learner, build_network
from attention_unet.training.locating import train_locator
from attention_unet.training.messages import log_end, log_start, log_to_file
from attention_unet.training.monitor import Monitor
from attention_unet.training.parts import Stopped, Training, synchronise
from attention_unet.training.prepared_cases import PreparedCases, prepare_cases
from attention_unet.training.resolved_settings import (
    ResolvedSettings,
    check_images,
    read_resolved_settings,
    resolve_settings,
    resume_settings,
    warn_of_machine,
    write_resolved_settings,
)
from attention_unet.training.same_data import add_digests, check_dataset
from attention_unet.training.starting_weights import load_start, take_weights, warn_of_trained_on

log = logging.getLogger(__name__)


@apart_from_caller()
def train(
    config: Config,
    run: str | Path,
    resume: bool = False,
    override: bool = False,
    digests: Mapping[str, str] | None = None,
    unplanned: Config | None = None,
) -> None:
    """Train a network as configured, and write all results to the run folder.

    Args:
        config: complete configuration.
        run: run folder; created if it is missing.
        resume: continue the run in that folder. Its configuration must be the same.
        override: when resuming, accept changes that affect the remaining steps only, such as another budget, learning
            rate or augmentation: ``resolved_settings.MAY_BE_OVERRIDDEN``.
        digests: digest of image and label by case id in other runs. Those of this run must be the same.
        unplanned: for a fold of a cross-validation, the configuration before values of the common plan were filled in:
            it is planned anew, for whole scans, if the locator fails; None: ``config``.

    Raises:
        ConfigError: if the folder has another run, another process writes there, the configuration does not fit the
            data or the memory, or a resumed run has done more steps than configured.
        DataError: if a file of the dataset is missing, damaged or changed.
        Diverged: if the gradient is not finite.
        Interrupted: if the user stopped the training.
        ModelError: if the model to start from, or the saved state, cannot be used.
        ProcessDied: if a process of the training died.

    Example:
        >>> from attention_unet.config import Config, DataConfig, TrainingConfig
        >>> data, training = DataConfig(root="phantoms/Phantom"), TrainingConfig(steps=2, validations=1)
        >>> train(Config(data=data, training=training), "runs/example")
        >>> load_model("runs/example").plan.labels.names
        ('Ventricle', 'Nucleus', 'Lesion')
    """
    run = Path(run)
    if override and not resume:
        raise ConfigError("--override is given without --resume: it is for a run that continues; add --resume")
    dataset = find_dataset(config.data)
    check_images(dataset, config.augmentation.synthesize)
    config = _resolve_precision(config, run, resume)
    fabric = make_fabric(config.training)
    first = fabric.is_global_zero
    with folder_lock(run) if first else nullcontext(), reporting_faults(run, fabric.device, fabric.world_size):
        state = claim_folder(run, resume) if first else None  # inside the lock: no other process can change it
        settings = resume_settings(read_resolved_settings(state, run / STATE), config, override, run) if state else None
        if state and state.learner.step > (config.training.steps or math.inf):
            raise ConfigError(
                f"{run}: has done {state.learner.step} steps, and training.steps is {config.training.steps}: expected "
                "at least as many; or choose a new --run"
            )
        try:
            fabric.launch()
        except ValueError as error:  # of a cluster that started another number of processes
            raise ConfigError(f"training.devices and training.nodes do not fit this job: {error}") from error
        if fabric.world_size != math.prod(devices_and_nodes(config.training)):
            raise ConfigError(
                f"{fabric.world_size} processes were started: expected training.devices times training.nodes: start "
                "the program once, or by torchrun"
            )
        state, settings = fabric.broadcast((state, settings))  # other machines may not see the folder
        try:
            _train(config, dataset, run, fabric, state, settings, digests or {}, unplanned or config)
        finally:
            leave_processes(fabric)


def _train(
    config: Config,
    dataset: Dataset,
    run: Path,
    fabric: Fabric,
    state: TrainingState | None,
    settings: ResolvedSettings | None,
    digests: Mapping[str, str],
    unplanned: Config,
) -> None:
    """Train in a locked folder, in processes that have been started."""
    reuse_freed_memory(of_any_size=True)
    start = load_start(config) if not settings else None
    if settings and state:
        check_dataset(settings, dataset, all_cases=not config.data.splits)
        if fabric.is_global_zero:
            warn_of_machine(settings, state, fabric.device, run)
    else:  # only the first process: others can run on other machines and get another plan
        settings = fabric.broadcast(resolve_settings(config, dataset, start=start) if fabric.is_global_zero else None)
    network, prepared = _set_up(config, dataset, run, fabric, settings)
    exact = repeatable(fabric.device, settings.config.training.steps is not None)
    with log_to_file(run / "train.log") if fabric.is_global_zero else nullcontext(), exact:
        began = time.monotonic()
        with catching_signals() as early:
            locator = _restore_or_train_locator(state, prepared, settings, fabric, early)
        locating, tried = time.monotonic() - began, settings.plan.region_mm is not None
        if tried and not locator:
            if any(synchronise(fabric, bool(early))):
                raise Interrupted("stopped before the first step: repeat the same command to begin again", early)
            log.info("planning anew, for whole scans")
            config = _resolve_precision(unplanned, run, resume=False)
            settings = fabric.broadcast(
                resolve_settings(config, dataset, whole_scans=True, start=start) if fabric.is_global_zero else None
            )
            network, prepared = _set_up(config, dataset, run, fabric, settings)
        elif locator and not state and fabric.is_global_zero:
            write_resolved_settings(run, settings, config)
        with catching_signals() as caught:
            caught.extend(early)
            settings = add_digests(
                dataclasses.replace(settings, digests={**digests, **settings.digests}), prepared.facts
            )
            _start_from(start, network, settings)
            learner, budget, loop = _begin_or_continue(network, settings, fabric, state, locating)
            monitor = None
            if fabric.is_global_zero:
                log_start(settings, learner)
                monitor = Monitor(run, settings.plan.labels.names, state.history if state else [], learner.step)
            training = Training(
                run,
                settings,
                learner,
                Batches(prepared, settings, locator.margin_voxels if locator else None, fabric),
                prepared,
                locator,
                budget,
                loop,
                monitor,
                stop=lambda: bool(caught),
            )
            try:
                _run_loop(training, save_first=tried and not state)  # so that no locator is trained again
            except Stopped as error:
                fabric.barrier()  # Fabric kills the first process, which saved the state, when another one leaves
                advice = f"continue with 'attention-unet train --resume --run {run}'"
                raise Interrupted(f"stopped and saved: {advice}", caught) from error


def _restore_or_train_locator(
    state: TrainingState | None,
    prepared: PreparedCases,
    settings: ResolvedSettings,
    fabric: Fabric,
    caught: Sequence[int],
) -> Locator | None:
    """Return the locator of a run, saved or new; None if the plan has none, or if a new one is not safe."""
    if state and state.locator:
        return Locator.from_json(state.locator, state.locator_weights, fabric.device)
    if state or not settings.plan.region_mm:
        return None
    return train_locator(prepared.early, prepared.judging, settings.plan, settings.config, fabric, caught)


def _start_from(start: Model | None, network: AttentionUNet, settings: ResolvedSettings) -> None:
    """Give a new training the weights of a model; warn of cases that the model was trained on, also when resuming."""
    if start and settings.origin:
        log.info("starting from %s, sha256 %s", settings.origin.model, settings.origin.sha256)
        take_weights(network, settings.plan, start)
    if settings.origin:
        warn_of_trained_on(settings.origin, settings.split.validation, settings.digests)


def _begin_or_continue(
    network: AttentionUNet, settings: ResolvedSettings, fabric: Fabric, state: TrainingState | None, locating: float
) -> tuple[Learner, Budget, LoopState]:
    """Return learner, budget and state of the loop: new after the seconds of a locator, or of a saved state."""
    config, labels = settings.config.training, settings.plan.labels
    learner = Learner(network, config, fabric, labels.overlapping, labels.ignore is not None)
    budget = Budget.from_config(config)
    if not state:
        budget.elapsed_before = budget.locating = locating
        return learner, budget, LoopState(locating=locating)
    learner.restore(state.learner)
    budget.elapsed_before, budget.reserve, budget.locating = state.elapsed, state.reserve, state.loop.locating
    budget.steps_before = learner.step
    before = Config.from_plain(state.settings["config"]).training
    if any(getattr(before, name) != getattr(config, name) for name in ("budget_minutes", "steps", "validations")):
        budget.reserve = state.loop.validating = state.loop.case_seconds = 0.0  # of the budget before
        due = int(budget.progress(learner.step) * config.validations + 1e-9)
        state.loop.validations = min(state.loop.validations, due)
    return learner, budget, state.loop


def _run_loop(training: Training, save_first: bool) -> None:
    """Train until the budget is spent, and log the end."""
    threads = torch.get_num_threads()
    try:
        if save_first:
            save_training(training)
        fit(training)
    finally:
        torch.set_num_threads(threads)
        if training.monitor is not None:
            training.monitor.close()
    if training.monitor is not None:
        log_end(training, training.monitor)


def _set_up(
    config: Config, dataset: Dataset, run: Path, fabric: Fabric, settings: ResolvedSettings
) -> tuple[AttentionUNet, PreparedCases]:
    """Build the network of a plan, write the settings into the run folder, and preprocess the cases.

    Before a locator is judged, the plan is not final: planned values are then not written into the configuration, so
    that a run that is stopped meanwhile plans again from what was configured.
    """
    check_batch(settings.plan.batch, fabric.world_size)
    torch.manual_seed(settings.config.training.seed)
    network = build_network(settings.plan)
    if fabric.is_global_zero:
        final = not settings.plan.region_mm or (run / STATE).exists()
        write_resolved_settings(run, settings if final else dataclasses.replace(settings, config=config), config)
    return network, prepare_cases(config, dataset, settings, run, fabric)


def _resolve_precision(config: Config, run: Path, resume: bool) -> Config:
    """Resolve the precision "auto": of a run with a saved state, as it began; otherwise by the hardware."""
    if config.training.precision != "auto":
        return config
    if resume and (run / STATE).exists():
        precision = read_config(run).training.precision
    else:
        fast = choose_precision("auto", choose_device(config.training.accelerator)) == torch.bfloat16
        precision = "bfloat16" if fast else "float32"
    return dataclasses.replace(config, training=dataclasses.replace(config.training, precision=precision))


def read_config(run: Path) -> Config:
    """Return the configuration of a run. Raise ConfigError if the folder has no valid one."""
    try:
        return Config.from_plain(load_strictly((run / CONFIG).read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError, TypeError, KeyError, AttributeError, ValueError, RecursionError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"{run}: not a run folder ({CONFIG}: {why}): expected that of a training or fold") from error
