"""The loop: patches in, weights out. Read it from top to bottom."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.swa_utils import AveragedModel

from attention_unet.config import TrainingConfig
from attention_unet.data.cases import Case
from attention_unet.data.plan import Plan
from attention_unet.errors import UserError
from attention_unet.inference.model import save_model
from attention_unet.network import AttentionUNet
from attention_unet.training.budget import Budget, learning_rate_factor
from attention_unet.training.checkpoint import TrainingState, save_state
from attention_unet.training.losses import SegmentationLoss
from attention_unet.training.monitor import Monitor
from attention_unet.training.validation import Validation, mean_dice, validate

VALIDATION_OVERLAP = 0.25
SMOOTHING = 0.98  # of the loss and the throughput that are shown


class Diverged(UserError):
    """The loss is not a number any more."""


@dataclass
class Training:
    """All parts of a training, built and ready.

    Attributes:
        run: the run folder.
        config: budget and optimiser.
        plan: of network and data.
        fabric: devices, precision and processes.
        network: on the device, not wrapped.
        batches: for a first step, endless batches of image and target.
        validation_cases: held out; may be empty.
        budget: how long to train.
        monitor: in the first process.
        precision: to validate in.
        stop: whether the user asked to stop.
    """

    run: Path
    config: TrainingConfig
    plan: Plan
    fabric: Fabric
    network: AttentionUNet
    batches: Callable[[int], Iterator[tuple[Tensor, Tensor]]]
    validation_cases: Sequence[Case]
    budget: Budget
    monitor: Monitor | None
    precision: torch.dtype
    stop: Callable[[], bool]


def fit(training: Training, state: TrainingState | None) -> bool:
    """Train until the budget is spent, or until asked to stop; save the model and the state.

    Args:
        training: its parts.
        state: of a run to go on with.

    Returns:
        Whether the budget was spent. If not, the state is saved, and a resumed run goes on to the same numbers.

    Raises:
        Diverged: if the loss is no longer finite; what was saved before is left as it was.
    """
    config, fabric, budget = training.config, training.fabric, training.budget
    training.network.to(fabric.device)
    averaged = AveragedModel(training.network, multi_avg_fn=moving_average(config.average))
    optimizer = AdamW(training.network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    step, validations, history = 0, 0, [] if training.monitor is None else training.monitor.history
    if state is not None:
        step, validations = state.step, state.validations
        budget.elapsed_before = state.elapsed
        training.network.load_state_dict(state.network)
        averaged.load_state_dict(state.averaged)
        optimizer.load_state_dict(dict(state.optimizer))
        torch.set_rng_state(state.generator)
    network, optimizer = fabric.setup(training.network, optimizer)
    loss_of = SegmentationLoss(training.plan.labels.overlapping)
    batches = training.batches(step)
    shown_loss, rate, saved_at = float("nan"), 0.0, time.monotonic()

    def save() -> None:
        if fabric.is_global_zero:
            save_state(
                training.run / "last.pt",
                TrainingState(
                    step,
                    validations,
                    budget.elapsed,
                    training.network.state_dict(),
                    averaged.state_dict(),
                    optimizer.state_dict(),
                    torch.get_rng_state(),
                    history,
                ),
            )

    while True:
        progress = agreed(fabric, budget.progress(step))
        if progress >= (validations + 1) / config.validations:
            began = time.monotonic()
            finished = run_validation(
                training, averaged.module, step, shown_loss, optimizer.param_groups[0]["lr"], rate
            )
            if not finished:
                save()
                return False
            budget.reserve = time.monotonic() - began
            validations = int(progress * config.validations + 1e-9)
            save()
            saved_at = time.monotonic()
        if progress >= 1:
            return True

        began = time.monotonic()
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * learning_rate_factor(progress, config.warmup)
        image, target = next(batches)
        image, target = image.to(fabric.device), target.to(fabric.device)
        optimizer.zero_grad()
        loss = loss_of(network(image), target)
        if not torch.isfinite(loss):
            raise Diverged(
                f"{training.run}: the loss is {loss.item()} at step {step + 1}: lower training.learning_rate, or look "
                "for odd values in the images; the last saved state is kept"
            )
        fabric.backward(loss)
        fabric.clip_gradients(network, optimizer, max_norm=config.clip_norm)
        optimizer.step()
        averaged.update_parameters(training.network)
        step += 1

        value, seconds = loss.item(), time.monotonic() - began
        shown_loss = value if shown_loss != shown_loss else SMOOTHING * shown_loss + (1 - SMOOTHING) * value
        rate = config.batch / seconds if rate == 0 else SMOOTHING * rate + (1 - SMOOTHING) * config.batch / seconds
        if training.monitor is not None:
            lr = optimizer.param_groups[0]["lr"]
            training.monitor.step(step, progress, shown_loss, lr, rate, budget.seconds_left(step))
        if training.stop():
            save()
            return False
        if time.monotonic() - saved_at > 60 * config.checkpoint_minutes:
            save()
            saved_at = time.monotonic()


def run_validation(
    training: Training, averaged: nn.Module, step: int, loss: float, learning_rate: float, rate: float
) -> bool:
    """Score the held-out cases, each process its share, record the result and save the averaged weights.

    The weights saved are the averaged ones of the latest validation, not the best on the held-out cases: choosing by
    those would make the figure reported on them too good.

    Returns:
        Whether it ran to its end.
    """
    fabric, plan = training.fabric, training.plan
    if not isinstance(averaged, AttentionUNet):
        raise TypeError("the averaged network is not an AttentionUNet")
    if training.monitor is not None:
        training.monitor.validating()
    averaged.eval()
    own = training.validation_cases[fabric.global_rank :: fabric.world_size]
    result = validate(
        averaged,
        plan,
        own,
        device=fabric.device,
        precision=training.precision,
        overlap=VALIDATION_OVERLAP,
        stop=training.stop,
    )
    scores = gathered(fabric, None if result is None else result.dice)
    if scores is None:
        return False
    if training.monitor is not None:
        names = plan.labels.names
        means = mean_dice(scores, len(names))
        defined = [m for m in means if m == m]
        row = {
            "step": step,
            "minutes": training.budget.elapsed / 60,
            "learning_rate": learning_rate,
            "loss": loss,
            "patches_a_second": rate,
            "dice": sum(defined) / len(defined) if defined else float("nan"),
            **{f"dice {name}": mean for name, mean in zip(names, means, strict=True)},
        }
        training.monitor.validation(row, result.scenes if isinstance(result, Validation) else [])
        save_model(training.run, averaged.state_dict(), plan, {"trained": {key: row[key] for key in row}})
    return True


def moving_average(keep: float) -> Callable[[Sequence[Tensor], Sequence[Tensor], Tensor | int], None]:
    """Exponential moving average of weights that forgets its beginning: it keeps less of itself in early steps."""

    @torch.no_grad()
    def update(averages: Sequence[Tensor], weights: Sequence[Tensor], updates: Tensor | int) -> None:
        share = min(keep, (1 + int(updates)) / (10 + int(updates)))
        for average, weight in zip(averages, weights, strict=True):
            average.lerp_(weight.to(average.dtype), 1 - share)

    return update


def agreed(fabric: Fabric, progress: float) -> float:
    """The same progress in all processes, that of the farthest: clocks differ."""
    if fabric.world_size == 1:
        return progress
    return float(fabric.all_reduce(torch.tensor(progress, dtype=torch.float64), reduce_op="max"))


def gathered(fabric: Fabric, scores: dict[str, list[float]] | None) -> dict[str, list[float]] | None:
    """Scores of all processes; None if one of them was stopped."""
    if fabric.world_size == 1:
        return scores
    parts: list[dict[str, list[float]] | None] = [None] * fabric.world_size
    torch.distributed.all_gather_object(parts, scores)
    merged: dict[str, list[float]] = {}
    for part in parts:
        if part is None:
            return None
        merged.update(part)
    return merged
