"""Train a locator before the network, and judge it on held-out cases."""

import dataclasses
import logging
import math
import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray

from attention_unet.config import Config
from attention_unet.errors import plural
from attention_unet.inference.locator import Locator, coarsen
from attention_unet.machine.progress import progress_bar
from attention_unet.machine.threads import ThreadChooser
from attention_unet.network import AttentionUNet
from attention_unet.preparation.cache import CachedCase, class_locations
from attention_unet.preparation.fingerprint import evenly_spaced
from attention_unet.preparation.loading import load_patches
from attention_unet.preparation.patch_sampler import PatchSampler
from attention_unet.preparation.patches import PatchDataset, patch_numbers
from attention_unet.preparation.plan import Plan
from attention_unet.preparation.region import FEWEST_STEPS, MARGINS, MOST_STEPS, SHARE, choose_factors, plan_coarsely
from attention_unet.scans.labels import Labels
from attention_unet.training.budget import Budget, learning_rate_factor
from attention_unet.training.interruption import Interrupted
from attention_unet.training.learner import Learner
from attention_unet.training.parts import synchronise

log = logging.getLogger(__name__)

WARMUP, FALLING = 0.05, 1 / 8  # shares of the locator's budget in which its learning rate rises and falls
RECALL, LOWEST_RECALL = 0.999, 0.99  # least share of the structures' voxels in the box: mean, each case or class
MOST_VOLUME = 0.6  # largest share of the scans that the box may fill
TRIED_STEPS = 6  # steps after which it is judged whether there is time for enough of them; the first is slow
FEWEST_CASES = 8  # to learn from, however long it takes to read them
MEASURED_CASES, LEARNT_CASES = 20, 200  # at most; coarse cases are held in memory


class Found(NamedTuple):
    """What a locator finds in held-out cases: the shares in its box."""

    recall: list[float]  # of the structures' voxels, for each case with structures
    recall_of_class: dict[str, float]  # of the voxels of each class, on average over the cases that have it
    volume: float  # of the scans

    @property
    def is_safe(self) -> bool:
        """Whether the box holds the structures, and leaves out enough of the scans."""
        if not self.recall:
            return False
        lowest = min(*self.recall, *self.recall_of_class.values())
        return bool(np.mean(self.recall) >= RECALL) and lowest >= LOWEST_RECALL and self.volume <= MOST_VOLUME

    def __str__(self) -> str:
        if not self.recall:
            return "no structures in held-out cases"
        mean, lowest, count = np.mean(self.recall), min(self.recall), plural(len(self.recall), "held-out case")
        worst = min(self.recall_of_class, key=lambda name: self.recall_of_class[name])
        return (
            f"the part it finds holds {100 * mean:.2f} % of the structures' voxels in {count} (lowest case "
            f"{100 * lowest:.2f} %; lowest class, {worst}, {100 * self.recall_of_class[worst]:.2f} %), and is "
            f"{100 * self.volume:.0f} % of the scans"
        )


def train_locator(
    training: Sequence[CachedCase],
    held_out: Sequence[CachedCase],
    plan: Plan,
    config: Config,
    fabric: Fabric,
    caught: Sequence[int] = (),
) -> Locator | None:
    """Train a locator for at most a tenth of the budget, which is in minutes or steps.

    Return None if it lost structures in held-out cases or found too much, if there is no time for enough steps, or if
    no case is held out. Raise Interrupted if the user asked to stop.
    """
    if not held_out:
        return None
    minutes, steps = config.training.budget_minutes, config.training.steps
    budget = Budget(steps and int(SHARE * steps), minutes and SHARE * 60 * minutes)
    grids = [case.image.shape[1:] for case in evenly_spaced(training, MEASURED_CASES)]
    factors = choose_factors(grids, plan.preprocessing.spacing_mm)
    coarse_plan = plan_coarsely(plan, factors, grids, fabric.world_size)
    with torch.random.fork_rng(devices=[]):  # the network's training stays the same
        learner = Learner(AttentionUNet(coarse_plan.architecture), config.training, fabric, overlapping=False)
    coarse: list[CachedCase] = []
    for number in np.random.RandomState(0).permutation(len(training))[:LEARNT_CASES]:
        if len(coarse) >= FEWEST_CASES and budget.progress(0) > 0.5:
            break
        coarse.append(coarsen_case(training[number], factors, coarse_plan.labels))
    patches = PatchDataset(
        PatchSampler(coarse, coarse_plan.patch, 0.0, config.training.seed), coarse_plan, config.augmentation
    )
    if not _learn(learner, patches, budget, config, caught):
        log.info("no locator: a tenth of the budget is not enough for %d steps", FEWEST_STEPS)
        return None
    for margin in MARGINS:
        locator = Locator(learner.averaged, coarse_plan, factors, margin)
        found = fabric.broadcast(judge(locator, evenly_spaced(held_out, MEASURED_CASES), plan.labels))
        log.info("locator, trained for %d steps, margin %d: %s", learner.step, margin, found)
        if found.is_safe:
            return locator
        if found.volume > MOST_VOLUME:
            break
    log.info(
        "it is not used: expected at least %g %% (%g %% of every case and class) in at most %g %% of the scans",
        *(100 * limit for limit in (RECALL, LOWEST_RECALL, MOST_VOLUME)),
    )
    return None


def _learn(learner: Learner, patches: PatchDataset, budget: Budget, config: Config, caught: Sequence[int]) -> bool:
    """Train a learner until its budget is spent, or for 400 steps if these take less.

    Return False if the first steps show that its time is over before step 100.
    """
    fabric, before, spent_before, fastest = learner.fabric, torch.get_num_threads(), 0.0, math.inf
    numbers = patch_numbers(0, patches.plan.batch, fabric.global_rank, fabric.world_size)
    threads = ThreadChooser(fixed=budget.seconds is None) if fabric.device.type == "cpu" else None
    batches = load_patches(patches, numbers, 0, fabric.device)
    try:
        with progress_bar("training the locator, %", 100) as done:
            while True:
                spent = max(budget.progress(learner.step), learner.step / MOST_STEPS)
                progress, stopping = synchronise(fabric, spent, bool(caught))
                if stopping:
                    raise Interrupted("stopped before the first step: repeat the same command to begin again", caught)
                fastest = min(fastest, progress - spent_before) if learner.step else math.inf
                spent_before = progress
                hopeless = budget.seconds is not None and (1 - progress) / fastest < FEWEST_STEPS - TRIED_STEPS
                if progress >= 1 or (learner.step == TRIED_STEPS and hopeless):
                    return budget.seconds is None or learner.step > TRIED_STEPS
                batch = next(batches)
                began = time.monotonic()
                rate = config.training.learning_rate * learning_rate_factor(progress, WARMUP, FALLING)
                learner.learn(batch, rate).read_loss()
                if threads:
                    threads.record(time.monotonic() - began)
                done(100 * progress)
    finally:
        torch.set_num_threads(before)


def coarsen_case(case: CachedCase, factors: tuple[int, int, int], labels: Labels) -> CachedCase:
    """Return a case in coarse voxels; one that holds any voxel of a class belongs to the structures."""
    target: NDArray[np.uint8] = np.any(case.target, axis=0).astype(np.uint8)
    for axis, factor in enumerate(factors):
        target = np.maximum.reduceat(target, np.arange(0, target.shape[axis], factor), axis=axis)
    image = coarsen(torch.from_numpy(case.image), factors).numpy()
    regions = case.regions
    for axis, factor in enumerate(factors if regions.size else ()):
        middles = np.arange(0, regions.shape[1 + axis], factor) + factor // 2
        regions = regions.take(np.minimum(middles, regions.shape[1 + axis] - 1), axis=1 + axis)
    return dataclasses.replace(
        case,
        image=image,
        target=target[None],
        locations=class_locations(target[None], labels),
        regions=regions,
        region_counts=np.bincount(regions.ravel(), minlength=len(case.region_counts)),
    )


def judge(locator: Locator, cases: Sequence[CachedCase], labels: Labels) -> Found:
    """Locate structures in cases and compare with their true place."""
    recall, volumes = [], []
    of_class: dict[str, list[float]] = {name: [] for name in labels.names}
    for case in cases:
        grid = case.image.shape[1:]
        everything = [(0, n) for n in grid]
        box = locator.locate(torch.from_numpy(case.image)) or everything
        inside = (slice(None), *(slice(*side) for side in box))
        if case.target.any():
            recall.append(float(np.any(case.target[inside], axis=0).sum() / np.any(case.target, axis=0).sum()))
        for number, name in enumerate(labels.names):
            truth = case.target[number : number + 1] != 0 if labels.overlapping else case.target == number + 1
            if truth.any():
                of_class[name].append(float(truth[inside].sum() / truth.sum()))
        volumes.append(math.prod((stop - start) / n for (start, stop), n in zip(box, grid, strict=True)))
    means = {name: float(np.mean(shares)) for name, shares in of_class.items() if shares}
    return Found(recall, means, float(np.mean(volumes)) if volumes else 1.0)
