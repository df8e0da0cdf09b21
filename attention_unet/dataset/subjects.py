"""Which cases are of one person: a person is never both trained on and held out."""

import csv
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy.spatial.distance import pdist, squareform
from scipy.stats import binom

from attention_unet.config import DataConfig
from attention_unet.dataset.case_facts import CaseFacts
from attention_unet.errors import ConfigError, first_few
from attention_unet.files.atomic import write_text
from attention_unet.files.csv_text import csv_rows, csv_text
from attention_unet.files.run_folder import SUBJECTS

MOST_CASES_OF_A_PERSON = 8  # larger groups of similar ids are rather sites or studies
FEWEST_NEIGHBOURS = 10  # cases from which neighbours in the list are compared
CHANCE = 1e-6  # probability below which similar neighbours are reported


def find_subjects(data: DataConfig, dataset: Path, ids: Sequence[str]) -> dict[str, str]:
    """Return the subject of each case.

    The table that the configuration names is used, else its pattern, else ``subjects.csv`` in the dataset.

    Args:
        data: configuration of the data.
        dataset: folder of the dataset.
        ids: case ids.

    Returns:
        Subject by case id. Empty if nothing says which cases are of one person.

    Raises:
        ConfigError: if the table is missing, damaged or lacks a case, or the pattern does not match a case id.
    """
    if data.subjects and data.subject_pattern:
        raise ConfigError("data.subjects and data.subject_pattern are both set: expected one of them")
    if data.subject_pattern:
        return _match(data.subject_pattern, ids)
    if data.subjects:
        return read_subjects(Path(data.subjects), ids)
    beside = dataset / SUBJECTS
    return read_subjects(beside, ids) if beside.is_file() else {}


def read_subjects(file: Path, ids: Sequence[str]) -> dict[str, str]:
    """Read a table with the columns ``case`` and ``subject``.

    Args:
        file: CSV file. It may list more cases than ``ids``.
        ids: case ids that are needed.

    Raises:
        ConfigError: if the table cannot be read, lists a case twice or lacks one of ``ids``.
    """
    subjects: dict[str, str] = {}
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            for row in csv_rows(opened):
                case, subject = row["case"].strip(), row["subject"].strip()
                if subjects.setdefault(case, subject) != subject:
                    raise ConfigError(f"{file}: {case} has two subjects, {subjects[case]} and {subject}: keep one")
    except OSError as error:
        raise ConfigError(
            f"{file}: cannot be read ({error.strerror}): expected a table of cases and subjects"
        ) from error
    except (KeyError, ValueError, csv.Error) as error:
        raise ConfigError(f"{file}: is not a table of cases and subjects ({error}): expected case,subject") from error
    missing = [case for case in ids if not subjects.get(case)]
    if missing:
        raise ConfigError(f"{file}: has no subject for {first_few(missing)}: add a row for every case")
    return {case: subjects[case] for case in ids}


def write_subjects(file: Path, subjects: Mapping[str, str]) -> None:
    """Write a table that ``read_subjects`` reads."""
    write_text(file, csv_text([["case", "subject"], *subjects.items()]))


def find_similar_cases(facts: Sequence[CaseFacts]) -> list[str]:
    """Return warnings about cases that look like one person, judged by their ids and by their intensities."""
    found = []
    groups = _groups_of_ids([fact.id for fact in facts])
    if groups:
        found.append(
            f"{sum(map(len, groups))} case ids look like {len(groups)} persons (such as {first_few(groups[0])}): "
            "cases of one person may be trained on and held out; set data.subjects or data.subject_pattern"
        )
    pairs, expected = _similar_neighbours(facts)
    if pairs:
        found.append(
            f"intensities: the case most like {pairs} of {len(facts)} cases is their neighbour in the list of ids (by "
            f"chance: {expected:.0f}): consecutive cases may be one person; set data.subjects"
        )
    return found


def _match(pattern: str, ids: Sequence[str]) -> dict[str, str]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"data.subject_pattern is {pattern!r}: not a regular expression ({error})") from error
    if compiled.groups < 1:
        raise ConfigError(f"data.subject_pattern is {pattern!r}: expected a group in brackets, such as '(sub-[^_]+)_'")
    matches = {case: compiled.search(case) for case in ids}
    unmatched = [case for case, match in matches.items() if not match or not match[1]]
    if unmatched:
        raise ConfigError(f"data.subject_pattern is {pattern!r}: does not match {first_few(unmatched)}: correct it")
    return {case: match[1] for case, match in matches.items() if match}


def _groups_of_ids(ids: Sequence[str]) -> list[list[str]]:
    """Ids that differ only after their last separator, if that makes many small groups."""
    groups: dict[str, list[str]] = defaultdict(list)
    for case in ids:
        groups[re.split(r"[_\-.](?=[^_\-.]*$)", case)[0]].append(case)
    several = [group for group in groups.values() if len(group) > 1]
    persons = len(groups) > 1 and several and max(map(len, several)) <= MOST_CASES_OF_A_PERSON
    return several if persons else []


def _similar_neighbours(facts: Sequence[CaseFacts]) -> tuple[int, float]:
    """Count cases whose most similar other case is the next or the previous one in the list of ids.

    Cases are compared by three quantiles of their first channel, 1 %, median and 99 %, each in standard deviations.

    Returns:
        The number, 0 if chance explains it, and the number that chance makes.
    """
    count = len(facts)
    if count < FEWEST_NEIGHBOURS:
        return 0, 0.0
    quantiles = np.array([fact.quantiles[0, 1:4] for fact in sorted(facts, key=lambda fact: fact.id)])
    apart = squareform(pdist(quantiles / np.maximum(quantiles.std(axis=0), 1e-12)))
    np.fill_diagonal(apart, np.inf)
    closest = apart == apart.min(axis=1, keepdims=True)
    beside = np.eye(count, k=1, dtype=bool) | np.eye(count, k=-1, dtype=bool)
    found = int(((closest & beside).any(axis=1) & (closest.sum(axis=1) == 1)).sum())  # ties say nothing
    by_chance = 2 / (count - 1)
    return (found, count * by_chance) if binom.sf(found - 1, count, by_chance) < CHANCE else (0, 0.0)
