"""Read every file of a dataset and report its problems and measurements."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from attention_unet.dataset.case_checks import warnings_about
from attention_unet.dataset.case_facts import CaseFacts, measure_case
from attention_unet.dataset.cases import Case, Dataset
from attention_unet.dataset.reading import read_case
from attention_unet.dataset.subjects import find_similar_cases
from attention_unet.errors import DataError
from attention_unet.machine.processes import run_all
from attention_unet.scans.labels import Labels


@dataclass(frozen=True)
class Inspection:
    """Results of reading all files of a dataset.

    Attributes:
        facts: facts of each readable case.
        problems: why a case cannot be trained on, by case id.
        warnings: what may be wrong with the dataset.
    """

    facts: list[CaseFacts]
    problems: dict[str, str]
    warnings: list[str]


def inspect(
    dataset: Dataset, known: Mapping[str, str], subjects: Mapping[str, str], done: Callable[[], None]
) -> Inspection:
    """Read every image and label of a dataset. ``known`` are the problems of faulty cases, which are not in it."""
    measure = functools.partial(_measure, channels=len(dataset.channels), labels=dataset.labels)
    measured = run_all(measure, dataset.cases, done)
    facts = [result for result in measured if isinstance(result, CaseFacts)]
    unreadable = {c.id: result for c, result in zip(dataset.cases, measured, strict=True) if isinstance(result, str)}
    problems = {**known, **unreadable}
    found = [*warnings_about(facts, dataset.labels.names), *([] if subjects else find_similar_cases(facts))]
    return Inspection(facts, problems, found)


def _measure(case: Case, channels: int, labels: Labels) -> CaseFacts | str:
    """Read and measure a case. Return its facts, or why it cannot be trained on."""
    try:
        image, label, warnings = read_case(case, channels, labels)
        return measure_case(case, image, label, labels, warnings)
    except DataError as error:
        return str(error)
