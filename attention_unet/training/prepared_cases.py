"""Preprocess and check the cases of a training before its first step."""

import logging
import math
import statistics
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from lightning_fabric import Fabric

from attention_unet.config import Config
from attention_unet.dataset.case_facts import CaseFacts
from attention_unet.dataset.cases import Case, Dataset
from attention_unet.dataset.inspection import check_trainable, shorten, warnings_about
from attention_unet.dataset.splits import choose_late_cases
from attention_unet.dataset.subjects import find_similar_cases
from attention_unet.errors import DataError
from attention_unet.machine.progress import progress_bar
from attention_unet.preparation.cache import CachedCases, CaseCache
from attention_unet.preparation.fingerprint import evenly_spaced
from attention_unet.preparation.plan import Plan
from attention_unet.training.resolved_settings import ResolvedSettings

log = logging.getLogger(__name__)

MEASURED = 5  # held-out cases whose sizes tell how many voxels a typical one has


@dataclass(frozen=True)
class PreparedCases:
    """Cases of a training."""

    training: CachedCases
    early: CachedCases  # those that are trained on from the start: all but the late ones
    judging: CachedCases  # held-out cases; without held-out cases the late ones
    held_out_cases: list[Case]  # in random order: short validations take the first ones
    late_cases: list[Case]  # training cases, predicted once before they are trained on; none if there are held-out ones
    facts: list[CaseFacts]  # of all cases

    def cases_of_class(self, cases: CachedCases) -> dict[int, list[int]]:
        """Return by class the numbers of the cases that have it, for all classes that any case has."""
        facts = {fact.id: fact for fact in self.facts}
        present = [facts[case] for case, _ in cases.files]
        found = {
            index: [n for n, fact in enumerate(present) if fact.volumes_ml[name] and name not in fact.lost]
            for index, name in enumerate(self.facts[0].volumes_ml)
        }
        return {index: numbers for index, numbers in found.items() if numbers}

    def typical_voxels(self, plan: Plan) -> float:
        """Return the voxels to predict in a typical held-out or late case; 0 without such cases.

        If the plan has a locator, they are those of the part that it finds.
        """
        if plan.region_mm:
            return math.prod(mm / step for mm, step in zip(plan.region_mm, plan.preprocessing.spacing_mm, strict=True))
        sizes = [case.image[0].size for case in evenly_spaced(self.judging, MEASURED)] if len(self.judging) else [0]
        return float(statistics.median(sizes))


def prepare_cases(
    config: Config, dataset: Dataset, settings: ResolvedSettings, run: Path, fabric: Fabric
) -> PreparedCases:
    """Preprocess and check all cases before the first step. One process per machine does it; the others wait.

    Raise DataError if a case cannot be preprocessed, a class cannot be learned, or nothing is annotated.
    """
    training = [case for case in dataset.cases if case.id in settings.split.training]
    held_out = [case for case in dataset.cases if case.id in settings.split.validation]
    held_out = [held_out[i] for i in np.random.RandomState(0).permutation(len(held_out))]
    folder = Path(config.data.cache) if config.data.cache else run.absolute().parent / "cache"
    plan = settings.plan
    synthesize = settings.config.augmentation.synthesize > 0
    cache = CaseCache(folder, plan.preprocessing, plan.labels, len(plan.channels), synthesize)
    with fabric.rank_zero_first(local=True):
        if fabric.local_rank == 0:
            with progress_bar("preprocessing cases", len(training) + len(held_out)) as done:
                cache.add([*training, *held_out], done)
        facts = cache.facts([*training, *held_out])
        blank = {fact.id for fact in facts if not fact.annotated}
        training = [case for case in training if case.id not in blank]
        if not training:
            raise DataError(f"{dataset.root}: all voxels of all training cases are ignored: annotate some of them")
        if held_out and blank.issuperset(case.id for case in held_out):
            log.warning("all voxels of all held-out cases are ignored: nothing can be validated")
        if fabric.local_rank == 0:
            names, similar = plan.labels.names, [] if settings.subjects else find_similar_cases(facts)
            trainable = check_trainable(facts, [case.id for case in held_out], names)
            for warning in shorten([*warnings_about(facts, names), *trainable, *similar]):
                log.warning("%s", warning)
    ids = [case.id for case in training]
    late_ids = [] if held_out else choose_late_cases(ids, settings.subjects, settings.config.training.seed)
    late = [case for case in training if case.id in late_ids]
    return PreparedCases(
        cache.open(training),
        cache.open([case for case in training if case.id not in late_ids]),
        cache.open(held_out or late),
        held_out,
        late,
        facts,
    )
