"""Look at every file of a dataset before anything is trained on it: what is wrong, and what it is like."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from attention_unet.dataset.case_facts import CaseFacts, facts_of, warnings_about
from attention_unet.dataset.cases import Case, Dataset
from attention_unet.dataset.reading import read_case
from attention_unet.dataset.subjects import find_similar_cases
from attention_unet.errors import DataError


@dataclass(frozen=True)
class Inspection:
    """What is known of a dataset after looking at all of it.

    Attributes:
        facts: of each case that can be read.
        problems: by case, why it cannot be trained on.
        remarks: what is no error but worth a look.
    """

    facts: list[CaseFacts]
    problems: dict[str, str]
    remarks: list[str]


def inspect(
    dataset: Dataset, known: Mapping[str, str], subjects: Mapping[str, str], done: Callable[[], None]
) -> Inspection:
    """Read every image and label of a dataset.

    Args:
        dataset: to read.
        known: problems of cases that are not in it.
        subjects: subject by case id; empty if nothing says which cases are of one person.
        done: called after each case.
    """
    facts: list[CaseFacts] = []
    problems = dict(known)
    for case in dataset.cases:
        try:
            facts.append(examine(case, dataset))
        except DataError as error:
            problems[case.id] = str(error)
        done()
    remarks = [*warnings_about(facts, dataset.labels.names), *([] if subjects else find_similar_cases(facts))]
    return Inspection(facts, problems, remarks)


def examine(case: Case, dataset: Dataset) -> CaseFacts:
    """Read one case.

    Raises:
        DataError: if it cannot be trained on.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        image, label = read_case(case, len(dataset.channels), dataset.labels)
    return facts_of(case.id, image, label, dataset.labels, [str(warning.message) for warning in caught])
