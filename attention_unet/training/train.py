"""A whole training, from a configuration to a run folder."""

import dataclasses
import json
import logging
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import torch
import yaml
from lightning_fabric import Fabric, seed_everything
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from attention_unet.atomic import write_text
from attention_unet.config import Config, TrainingConfig
from attention_unet.data.cache import CachedCase, CaseCache
from attention_unet.data.cases import Case, Dataset, find_cases, locate_dataset
from attention_unet.data.patches import PatchDataset, ShareOfNumbers, load_patches
from attention_unet.data.plan import Plan, make_plan, take_fingerprint
from attention_unet.data.splits import Split, split_cases, write_split
from attention_unet.errors import ConfigError, UserError
from attention_unet.inference.device import precision_of
from attention_unet.network import AttentionUNet
from attention_unet.training.budget import Budget
from attention_unet.training.checkpoint import TrainingState, load_state
from attention_unet.training.fit import Training, fit
from attention_unet.training.monitor import Monitor

log = logging.getLogger(__name__)

MAY_CHANGE = ("data.root", "data.workers", "data.cache")  # on resume: they change no number


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
        Interrupted: if the user stopped the training.
    """
    started = time.monotonic()
    dataset = find_cases(locate_dataset(config.data.root, config.data.dataset))
    state = _claim_folder(run, config, resume)
    fabric = make_fabric(config.training)
    fabric.launch()
    seed_everything(config.training.seed, workers=False, verbose=False)
    console = console or Console(stderr=True)
    split, plan = _settle(config, dataset, run, fabric)
    patches = PatchDataset(
        _prepare_cases(config, dataset, split, plan, run, fabric, console),
        plan.patch,
        plan.slice_axis,
        config.data.foreground_share,
        config.augmentation,
        config.training.seed,
    )
    network = AttentionUNet(**plan.architecture)
    precision = precision_of(config.training.precision, fabric.device)
    held_out = [case for case in dataset.cases if case.id in split.validation]
    if fabric.is_global_zero:
        log.info(
            "%d cases to train on, %d held out; %.2f million parameters on %s in %s; patches of %s",
            len(split.training),
            len(held_out),
            sum(p.numel() for p in network.parameters()) / 1e6,
            fabric.device,
            str(precision).removeprefix("torch."),
            " x ".join(map(str, plan.patch)),
        )
    budget = Budget.of(config.training, len(split.training))
    budget.started = started
    monitor = None
    if fabric.is_global_zero:
        monitor = Monitor(run, plan.labels.names, [] if state is None else state.history, console)

    def batches(first_step: int) -> Iterator[tuple[Tensor, Tensor]]:
        numbers = ShareOfNumbers(first_step, config.training.batch, fabric.global_rank, fabric.world_size)
        return iter(load_patches(patches, numbers, config.data.workers))

    try:
        with noticing_signals() as caught, logging_to(run / "train.log"):
            finished = fit(
                Training(
                    run,
                    config.training,
                    plan,
                    fabric,
                    network,
                    batches,
                    held_out,
                    budget,
                    monitor,
                    precision,
                    stop=lambda: bool(caught),
                ),
                state,
            )
    finally:
        if monitor is not None:
            monitor.close()
    if not finished:
        raise Interrupted(f"stopped and saved: go on by the same command with --resume --run {run}", caught[0])


def make_fabric(config: TrainingConfig) -> Fabric:
    """Devices, precision and processes. Under torchrun the number of processes is what it started.

    Raises:
        ConfigError: if the device asked for is not there, or the batch cannot be shared.
    """
    devices, nodes = config.devices, config.nodes
    if "LOCAL_WORLD_SIZE" in os.environ:
        devices = int(os.environ["LOCAL_WORLD_SIZE"])
        nodes = int(os.environ["WORLD_SIZE"]) // devices
    if config.batch % (devices * nodes):
        raise ConfigError(
            f"training.batch is {config.batch}: expected a multiple of the {devices * nodes} processes that share it"
        )
    accelerator = "gpu" if config.accelerator == "cuda" else config.accelerator
    try:
        device = Fabric(accelerator=accelerator, devices=1).device
        precision = precision_of(config.precision, device)
        return Fabric(
            accelerator=accelerator,
            devices=devices,
            num_nodes=nodes,
            precision="bf16-mixed" if precision == torch.bfloat16 else "32-true",
        )
    except (RuntimeError, ValueError) as error:  # Fabric's MisconfigurationException is one of the first
        raise ConfigError(
            f"training.accelerator is {config.accelerator}, training.devices {devices}: {error}"
        ) from error


@contextmanager
def noticing_signals() -> Iterator[list[int]]:
    """Collect Ctrl-C and SIGTERM instead of dying of them; a second one is left to its usual effect."""
    caught: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        caught.append(number)
        for each, handler in before.items():
            signal.signal(each, handler)
        log.info("stopping after this step and saving; press Ctrl-C again to stop at once")

    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    for each in before:
        signal.signal(each, note)
    try:
        yield caught
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


@contextmanager
def logging_to(path: Path) -> Iterator[None]:
    """Write what is logged to a file as well."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    logging.getLogger("attention_unet").addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger("attention_unet").removeHandler(handler)
        handler.close()


def _claim_folder(run: Path, config: Config, resume: bool) -> TrainingState | None:
    """Check that the folder is free, or holds the run to resume."""
    path = run / "config.yaml"
    if not resume:
        if path.exists() and int(os.environ.get("LOCAL_RANK", 0)) == 0:
            raise ConfigError(f"{run}: already holds a run: go on with it by --resume, or name another folder by --run")
        return None
    if not path.is_file():
        raise ConfigError(f"{run}: holds no run to resume: leave --resume out, or name its folder by --run")
    before = yaml.safe_load(path.read_text(encoding="utf-8"))
    changed = [
        f"{section}.{name} was {before.get(section, {}).get(name)}, is {value}"
        for section, fields in dataclasses.asdict(config).items()
        for name, value in fields.items()
        if before.get(section, {}).get(name) != value and f"{section}.{name}" not in MAY_CHANGE
    ]
    if changed:
        raise ConfigError(
            f"{run}: another configuration cannot be resumed: {'; '.join(changed)}: undo it, or start anew"
        )
    return load_state(run / "last.pt")


def _settle(config: Config, dataset: Dataset, run: Path, fabric: Fabric) -> tuple[Split, Plan]:
    """Decide split and plan, and write them with the configuration: the run can be repeated from these alone."""
    split = split_cases([c.id for c in dataset.cases], config.data.folds, config.data.fold, config.data.split_seed)
    training = [case for case in dataset.cases if case.id in split.training]
    plan = make_plan(config, dataset, take_fingerprint(training, len(dataset.channels)))
    if fabric.is_global_zero:
        write_text(run / "config.yaml", yaml.safe_dump(dataclasses.asdict(config), sort_keys=False))
        write_text(run / "plan.json", json.dumps(plan.to_json(), indent=2) + "\n")
        write_split(run / "splits.json", split)
    return split, plan


def _prepare_cases(
    config: Config, dataset: Dataset, split: Split, plan: Plan, run: Path, fabric: Fabric, console: Console
) -> list[CachedCase]:
    """Prepare the training cases once; the first process on a machine does it, the others wait."""
    cases: list[Case] = [case for case in dataset.cases if case.id in split.training]
    folder = Path(config.data.cache) if config.data.cache else run.parent / "cache"
    cache = CaseCache(folder, plan.preprocessing, plan.labels)
    with fabric.rank_zero_first(local=True):
        if fabric.local_rank == 0:
            with Progress(console=console, disable=not console.is_terminal) as bar:
                task = bar.add_task("preparing cases", total=len(cases))
                cache.add(cases, lambda: bar.advance(task))
    return [cache.load(case) for case in cases]
