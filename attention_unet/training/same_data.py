"""Check that the data did not change since a run began, or since another fold of a cross-validation."""

import dataclasses
import logging
from collections.abc import Sequence

from attention_unet.dataset.case_facts import CaseFacts
from attention_unet.dataset.cases import Dataset
from attention_unet.dataset.splits import check_subjects
from attention_unet.dataset.subjects import find_subjects
from attention_unet.errors import DataError, first_few, plural
from attention_unet.preparation.plan import Plan
from attention_unet.training.resolved_settings import ResolvedSettings

log = logging.getLogger(__name__)


def check_dataset(settings: ResolvedSettings, dataset: Dataset, all_cases: bool) -> None:
    """Raise DataError if a case of a run is missing, or channels or classes changed; ConfigError if a subject is split.

    Warn of cases that were added, if the run began with ``all_cases`` of the dataset.
    """
    split = settings.split
    known, there = {*split.training, *split.validation}, {case.id for case in dataset.cases}
    if all_cases and (added := there - known):
        log.warning(
            "%s: %s added since the run began: not used: %s; start a new run to train on them",
            dataset.root,
            plural(len(added), "case"),
            first_few(added),
        )
    if missing := known - there:
        raise DataError(
            f"{dataset.root}: {plural(len(missing), 'case')} of the run missing: {first_few(missing)}: restore them"
        )
    check_classes(settings.plan, dataset)
    ids = [*split.training, *split.validation]
    check_subjects(split, find_subjects(settings.config.data, dataset.root, ids), dataset.root)


def check_classes(plan: Plan, dataset: Dataset) -> None:
    """Raise DataError if the channels or classes of a dataset are not those of a plan."""
    for name, before, now in (
        ("channels", list(plan.channels), list(dataset.channels)),
        ("classes", plan.labels.to_json(), dataset.labels.to_json()),
    ):
        if before != now:
            raise DataError(
                f"{dataset.root}: the {name} changed since the run began: expected {before}, found {now}: undo the "
                "change, or choose a new --run"
            )


def add_digests(settings: ResolvedSettings, facts: Sequence[CaseFacts]) -> ResolvedSettings:
    """Return settings with the digests of the cases. Raise DataError if one changed since the run began."""
    digests = {fact.id: fact.digest + fact.label_digest + ",".join(fact.unannotated) for fact in facts}
    changed = [case for case, digest in settings.digests.items() if digests.get(case, digest) != digest]
    if changed:
        raise DataError(
            f"{first_few(changed)}: image, label or list of annotated classes changed since the run began: restore the "
            "files, or choose a new --run"
        )
    return dataclasses.replace(settings, digests=digests)
