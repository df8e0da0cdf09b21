"""Find the subject of each case, so that no subject is both trained on and held out."""

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy.spatial import KDTree
from scipy.special import bdtrc  # scipy.stats takes half a second to import

from attention_unet.config import DataConfig
from attention_unet.dataset.case_facts import CaseFacts
from attention_unet.errors import ConfigError, DataError, first_few, plural
from attention_unet.files.atomic import write_text
from attention_unet.files.csv_text import csv_text, parse_table
from attention_unet.files.run_folder import SUBJECTS

MAX_CASES_PER_PERSON = 8  # larger groups of similar ids are more likely sites or studies
MIN_CASES = 10  # fewer cases are not compared by intensity
ADVICE = "expected the columns case,subject"
SIGNIFICANCE = 1e-6  # p-value below which similar neighbours are reported


def find_subjects(data: DataConfig, dataset: Path, ids: Sequence[str]) -> dict[str, str]:
    """Return the subject of each case by id; an empty dictionary if nothing names subjects.

    Subjects come from the table or the pattern of the configuration. Without these, they are the participants of BIDS,
    or those of ``subjects.csv`` in the dataset. Raise ConfigError if the table is missing, damaged or lacks a case, or
    the pattern does not match a case id.
    """
    if data.subjects and data.subject_pattern:
        raise ConfigError("data.subjects and data.subject_pattern are both set: expected one; remove the other")
    if data.subject_pattern:
        return _match_subjects(data.subject_pattern, ids)
    if data.subjects:
        return read_subjects(Path(data.subjects), ids)
    if data.bids_suffixes:
        return _match_subjects("(sub-[^_]+)", ids)
    default = dataset / SUBJECTS
    return read_subjects(default, ids) if os.path.lexists(default) else {}


def read_subjects(file: Path, ids: Sequence[str]) -> dict[str, str]:
    """Read a table with the columns ``case`` and ``subject``. It may list more cases than ``ids``.

    Raise ConfigError if the table cannot be read, gives a case two subjects or lacks one of ``ids``.
    """
    known, alike = set(ids), {_plain(case): case for case in ids}
    try:
        rows = parse_table(file, lambda row: (row["case"], row["subject"].strip()), "subjects", ADVICE)
    except DataError as error:
        raise ConfigError(str(error)) from error
    subjects: dict[str, str] = {}
    for cell, subject in rows:
        case = cell if cell in known else alike.get(_plain(cell), cell)
        if subjects.setdefault(case, subject) != subject:
            raise ConfigError(f"{file}: {case} has two subjects, {subjects[case]} and {subject}: keep one")
    missing = [case for case in ids if not subjects.get(case)]
    if missing:
        raise ConfigError(f"{file}: has no subject for {first_few(missing)}: add a row for each")
    return {case: subjects[case] for case in ids}


def _plain(name: str) -> str:
    """Return a name without spaces around it, and with accented letters as one character: macOS may write two."""
    return unicodedata.normalize("NFC", name.strip())


def write_subjects(file: Path, subjects: Mapping[str, str]) -> None:
    """Write a table for ``read_subjects``."""
    write_text(file, csv_text([["case", "subject"], *subjects.items()]))


def find_similar_cases(facts: Sequence[CaseFacts]) -> list[str]:
    """Return warnings about cases that look like one person by their ids or intensities."""
    warnings = []
    if alike := find_ids_alike([fact.id for fact in facts]):
        warnings.append(
            f"{alike}: cases of one person may be trained on and held out; set data.subjects or data.subject_pattern"
        )
    pairs, expected = _count_similar_neighbours(facts)
    if pairs:
        warnings.append(
            f"intensities: the case most like {pairs} of {len(facts)} cases is their neighbour in the list of ids (by "
            f"chance: {expected:.0f}): consecutive cases may be one person; set data.subjects"
        )
    return warnings


def _match_subjects(pattern: str, ids: Sequence[str]) -> dict[str, str]:
    try:
        compiled = re.compile(pattern)
    except (re.error, OverflowError) as error:
        raise ConfigError(f"data.subject_pattern is {pattern!r}: not a regular expression ({error})") from error
    if compiled.groups < 1:
        raise ConfigError(f"data.subject_pattern is {pattern!r}: expected a group in brackets, such as '(sub-[^_]+)_'")
    matches = {case: compiled.search(case) for case in ids}
    unmatched = [case for case, match in matches.items() if not match or not match[1]]
    if unmatched:
        raise ConfigError(f"data.subject_pattern is {pattern!r}: does not match {first_few(unmatched)}: correct it")
    return {case: match[1] for case, match in matches.items() if match}


def find_ids_alike(ids: Sequence[str]) -> str:
    """Return how many ids differ only after their last separator; empty if they do not look like persons."""
    groups: dict[str, list[str]] = defaultdict(list)
    for case in ids:
        groups[re.split(r"[_\-.](?=[^_\-.]*$)", case)[0]].append(case)
    several = [group for group in groups.values() if len(group) > 1]
    plausible = len(groups) > 1 and several and max(map(len, several)) <= MAX_CASES_PER_PERSON
    alike = f"{sum(map(len, several))} case ids look like {plural(len(several), 'person')}"
    return f"{alike} (such as {first_few(several[0])})" if plausible else ""


def _count_similar_neighbours(facts: Sequence[CaseFacts]) -> tuple[int, float]:
    """Count cases whose most similar other case is the next or the previous one in the list of ids.

    Cases are compared by three quantiles of their first channel: 1 %, median and 99 %, each in standard deviations.
    The second value is the number expected by chance. The first is 0 if it is not significantly higher.
    """
    count = len(facts)
    if count < MIN_CASES:
        return 0, 0.0
    quantiles = np.array([fact.quantiles[0, 1:4] for fact in sorted(facts, key=lambda fact: fact.id)])
    places, own = quantiles / np.maximum(quantiles.std(axis=0), 1e-12), np.arange(count)[:, None]
    distance, case = KDTree(places).query(places, k=3)  # of each case: itself and the two closest ones
    distance[case == own] = -1
    order = np.argsort(distance, axis=1)
    distance, case = (np.take_along_axis(values, order, axis=1) for values in (distance, case))
    is_neighbour = np.abs(case[:, 1] - own[:, 0]) == 1
    pairs = int((is_neighbour & (distance[:, 1] < distance[:, 2])).sum())  # without ties
    chance = 2 / (count - 1)
    return (pairs, count * chance) if bdtrc(pairs - 1, count, chance) < SIGNIFICANCE else (0, 0.0)
