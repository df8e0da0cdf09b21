"""Read every file of a dataset and report its problems and measurements."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from attention_unet.dataset.case_facts import CaseFacts, measure_case, warnings_about
from attention_unet.dataset.cases import Dataset
from attention_unet.dataset.reading import read_case
from attention_unet.dataset.subjects import find_similar_cases
from attention_unet.errors import DataError


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
    """Read every image and label of a dataset.

    Args:
        dataset: dataset to read.
        known: problems of faulty cases, which are not in ``dataset``.
        subjects: subject by case id; empty if unknown.
        done: called after each case.
    """
    facts: list[CaseFacts] = []
    problems = dict(known)
    for case in dataset.cases:
        try:
            image, label, warnings = read_case(case, len(dataset.channels), dataset.labels)
            facts.append(measure_case(case, image, label, dataset.labels, warnings))
        except DataError as error:
            problems[case.id] = str(error)
        done()
    found = [*warnings_about(facts, dataset.labels.names), *([] if subjects else find_similar_cases(facts))]
    return Inspection(facts, problems, found)
