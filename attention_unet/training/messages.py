"""Log a training: its start, its end, and all of it to a file."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attention_unet.errors import first_few, plural, times
from attention_unet.machine.devices import choose_precision
from attention_unet.machine.memory import peak_memory
from attention_unet.training.history import find_fall
from attention_unet.training.learner import Learner
from attention_unet.training.monitor import Monitor
from attention_unet.training.parts import Training
from attention_unet.training.resolved_settings import ResolvedSettings

log = logging.getLogger(__name__)

MUCH_VALIDATING = 0.3  # share of the time
LARGE_FALL = 0.005  # of the mean Dice


def log_start(settings: ResolvedSettings, learner: Learner) -> None:
    """Log the cases, the network, the device and the patches of a training."""
    log.info(
        "%s to train on, %d held out; %.2f million parameters on %s in %s; patches of %s voxels of %s mm",
        plural(len(settings.split.training), "case"),
        len(settings.split.validation),
        sum(p.numel() for p in learner.network.parameters()) / 1e6,
        learner.fabric.device,
        str(choose_precision(settings.config.training.precision, learner.fabric.device)).removeprefix("torch."),
        times(settings.plan.patch),
        times(settings.plan.preprocessing.spacing_mm, ".3g"),
    )
    log.info("attention: %s", settings.plan.architecture.describe_attention())
    if learner.step:
        log.info("continuing after step %d", learner.step)


def log_end(training: Training, monitor: Monitor) -> None:
    """Log the end of a training, and warn of what went wrong in it."""
    peak = peak_memory(training.learner.fabric.device)
    log.info("training finished%s", f"; peak memory {peak / 2**30:.1f} GiB" if peak else "")
    share = training.loop.validating / training.budget.elapsed
    if share > MUCH_VALIDATING:
        log.warning(
            "validations took %.0f %% of the time: lower training.validations, hold out fewer cases, or train longer",
            100 * share,
        )
    step, fall = find_fall(monitor.validations)
    if fall > LARGE_FALL:
        log.warning(
            "mean Dice on held-out cases has fallen by %.4f since step %d: the training may have learned noise; take "
            "fewer steps (--training.steps), or stronger augmentation",
            fall,
            step,
        )
    last, prepared = monitor.history[-1] if monitor.history else {}, training.prepared
    held_out = prepared.cases_of_class(prepared.judging)
    names = [name for index, name in enumerate(training.settings.plan.labels.names) if index in held_out]
    if never_found := [name for name in names if last.get(f"dice {name}") == 0]:
        advice = ["raise data.foreground_share"]
        advice += [] if training.settings.config.data.balance_classes else ["set data.balance_classes"]
        advice += ["try data.locate false"] if training.locator else []
        log.warning("%s: found in no held-out case: train longer, or %s", first_few(never_found), " or ".join(advice))


@contextmanager
def log_to_file(path: Path) -> Iterator[None]:
    """Write log messages to a file too, if possible."""
    handler: logging.Handler = logging.NullHandler()
    try:
        handler = logging.FileHandler(path, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        log.warning("%s: cannot be written (%s): training continues without it", path, error.strerror)
    handler.handleError = lambda record: None  # type: ignore[method-assign]  # a training continues on a full disk
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
