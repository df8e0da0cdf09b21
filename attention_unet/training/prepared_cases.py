"""Preprocess and check the cases of a training before its first step."""

import logging
from collections.abc import Sequence
from pathlib import Path

from lightning_fabric import Fabric

from attention_unet.config import Config
from attention_unet.dataset.case_facts import CaseFacts, check_trainable, shorten, warnings_about
from attention_unet.dataset.cases import Case
from attention_unet.dataset.subjects import find_similar_cases
from attention_unet.machine.progress import progress_bar
from attention_unet.preparation.cache import CachedCases, CaseCache
from attention_unet.training.resolved_settings import ResolvedSettings

log = logging.getLogger(__name__)


def prepare_cases(
    config: Config,
    training: Sequence[Case],
    held_out: Sequence[Case],
    settings: ResolvedSettings,
    run: Path,
    fabric: Fabric,
) -> tuple[CachedCases, list[CaseFacts]]:
    """Preprocess and check all cases before the first step. One process per machine does it; the others wait.

    Returns:
        The preprocessed training cases, and the facts of all cases.
    """
    folder = Path(config.data.cache) if config.data.cache else run.parent / "cache"
    plan = settings.plan
    cache = CaseCache(folder, plan.preprocessing, plan.labels, len(plan.channels))
    with fabric.rank_zero_first(local=True):
        if fabric.local_rank == 0:
            with progress_bar("preprocessing cases", len(training) + len(held_out)) as done:
                cache.add([*training, *held_out], done)
        facts = cache.facts([*training, *held_out])
        if fabric.local_rank == 0:
            names, remarks = plan.labels.names, [] if settings.subjects else find_similar_cases(facts)
            trainable = check_trainable(facts, [case.id for case in held_out], names)
            for warning in shorten([*warnings_about(facts, names), *trainable, *remarks]):
                log.warning("%s", warning)
    return cache.open(training), facts
