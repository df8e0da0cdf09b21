"""Checks that a run that is resumed, or the next fold of a cross-validation, finds the data that it began with."""

import dataclasses
from collections.abc import Sequence

from attention_unet.dataset.case_facts import CaseFacts
from attention_unet.dataset.cases import Dataset
from attention_unet.dataset.splits import check_subjects
from attention_unet.dataset.subjects import find_subjects
from attention_unet.errors import DataError, first_few
from attention_unet.preparation.plan import Plan
from attention_unet.training.resolved_settings import ResolvedSettings


def check_dataset(settled: ResolvedSettings, dataset: Dataset) -> None:
    """Check that the dataset still has the cases, channels and classes of a run, and splits no subject.

    Raises:
        ConfigError: if a subject would be trained on and held out.
        DataError: if a case is missing, or channels or classes changed.
    """
    split = settled.split
    missing = {*split.training, *split.validation} - {case.id for case in dataset.cases}
    if missing:
        raise DataError(
            f"{dataset.root}: {len(missing)} cases of the run are not there: {first_few(missing)}: put back"
        )
    check_classes(settled.plan, dataset)
    ids = [*split.training, *split.validation]
    check_subjects(split, find_subjects(settled.config.data, dataset.root, ids), dataset.root)


def check_classes(plan: Plan, dataset: Dataset) -> None:
    """Check that the channels and classes of a dataset are those of a plan.

    Raises:
        DataError: if not.
    """
    for name, was, now in (
        ("channels", list(plan.channels), list(dataset.channels)),
        ("classes", plan.labels.to_json(), dataset.labels.to_json()),
    ):
        if was != now:
            raise DataError(
                f"{dataset.root}: the {name} changed since the run began: they were {was}, are {now}: undo that, or "
                "name a new --run"
            )


def with_digests(settled: ResolvedSettings, facts: Sequence[CaseFacts]) -> ResolvedSettings:
    """Record what the cases hold, and check that this is what they held when the run began.

    Raises:
        DataError: if an image or a label has changed since.
    """
    digests = {fact.id: fact.digest + fact.label_digest for fact in facts}
    changed = [case for case, digest in settled.digests.items() if digests.get(case, digest) != digest]
    if changed:
        raise DataError(
            f"{first_few(changed)}: image or label changed since the run began: restore the files, or name a new --run"
        )
    return dataclasses.replace(settled, digests=digests)
