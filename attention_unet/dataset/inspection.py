"""Inspect a dataset: read every file, warn about odd cases, refuse what cannot be learned."""

import functools
import math
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from attention_unet.dataset.case_facts import CaseFacts, measure_case, sizes_of, stack_of
from attention_unet.dataset.cases import Case, Dataset
from attention_unet.dataset.reading import read_case
from attention_unet.dataset.subjects import find_similar_cases
from attention_unet.errors import DataError, first_few, times
from attention_unet.machine.processes import run_all
from attention_unet.scans.labels import Labels
from attention_unet.scans.orientation import describe_turn

MANY_CHANNELS, ALIKE = 4, 0.1  # if more channels differ by at most this share of the values, it may be a time series
RARE = 0.25  # share of the cases that a rare class is in
MOST_CUT_OFF = 0.01  # share of the labelled voxels; beyond it a warning is given
UNUSUAL_RATIO = 2.0  # of a voxel size to the median; beyond it a warning is given
MAX_REPEATS = 2  # messages with the same words that are listed one by one


@dataclass(frozen=True)
class Inspection:
    """Results of reading all files of a dataset."""

    facts: list[CaseFacts]  # facts of each readable case
    problems: dict[str, str]  # why a case cannot be trained on, by case id
    warnings: list[str]  # what may be wrong with the dataset


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


def warnings_about(facts: Sequence[CaseFacts], classes: Sequence[str]) -> list[str]:
    """Return warnings about readable cases: those of their readers, and those from comparing the cases."""
    warnings = [text for fact in facts for text in fact.warnings]
    for same in _find_copies(facts):
        warnings.append(f"the same image {len(same)} times: {', '.join(same)}: a copy may be trained on and held out")
    for fact in facts:
        constant = [i for i, (low, *_, high) in enumerate(fact.quantiles) if low == high]
        if constant:
            warnings.append(f"{fact.id}: channel {constant[0]} has the same value everywhere: is it empty?")
        if _looks_like_time_series(fact):
            warnings.append(
                f"{fact.id}: has {len(fact.quantiles)} channels of much the same values: is it a time series? Make "
                "each time point a case of its own"
            )
        if min(fact.extent.box) == 1:
            warnings.append(f"{fact.id}: is a single slice: treated as a volume of one slice")
        if fact.lost:
            lost = ", ".join(fact.lost)
            warnings.append(f"{fact.id}: {lost} vanishes on the network's grid: too small for the voxels of the plan")
        if fact.cut_off > MOST_CUT_OFF:
            warnings.append(
                f"{fact.id}: more than {100 * MOST_CUT_OFF:.0f} % of its labelled voxels lie in the empty margin of "
                "the image, which is cut off: does the label belong to this image?"
            )
        if not fact.annotated:
            warnings.append(f"{fact.id}: all voxels are ignored: it is not trained on")
        elif not any(fact.volumes_ml.values()):
            warnings.append(f"{fact.id}: no class is in its label map")
    if facts:
        extents = [fact.extent for fact in facts]
        stack = stack_of(extents)
        _, spacings = sizes_of(extents, stack)
        log_ratios = np.abs(np.log(spacings / np.median(spacings, axis=0))).max(axis=1)
        for fact, spacing_mm, log_ratio in zip(facts, spacings, log_ratios, strict=True):
            if log_ratio > np.log(UNUSUAL_RATIO):
                size = times(spacing_mm, ".3g")
                warnings.append(f"{fact.id}: voxels of {size} mm, unlike other cases: is its header right?")
            if stack is not None and (turn := describe_turn(np.array(fact.extent.affine), stack)):
                warnings.append(f"{fact.id}: {turn}")
    partly = [fact for fact in facts if 0 < fact.annotated < 1]
    if partly and all(math.isclose(sum(fact.shares.values()), fact.annotated) for fact in partly):
        warnings.append("no annotated voxel is background, so that nothing shows where structures end: annotate some")
    counts = [sum(volume > 0 for volume in fact.volumes_ml.values()) for fact in facts]
    occurring = [name for name in classes if any(fact.volumes_ml[name] > 0 for fact in facts)]
    if max(counts, default=0) == 1 and len(occurring) > 1 and not any(fact.unannotated for fact in facts):
        warnings.append(
            f"no case has more than one of the classes {first_few(occurring)}: is it one structure, with another "
            "integer in some files? Then describe it as one class in dataset.json, with all its integers, such as "
            '{"organ": [1, 255]}'
        )
    for name in classes:
        annotating = [fact for fact in facts if name not in fact.unannotated and fact.annotated]
        present = sum(fact.volumes_ml[name] > 0 for fact in annotating)
        if facts and not present:
            warnings.append(f"the class {name} is in no case")
        elif present < RARE * len(annotating):
            warnings.append(
                f"the class {name} is in only {present} of {len(annotating)} cases; with data.balance_classes, patches "
                "are centred on it as often as on the others"
            )
    return warnings


def check_trainable(facts: Sequence[CaseFacts], held_out: Collection[str], classes: Sequence[str]) -> list[str]:
    """Return warnings about classes. Raise DataError if one cannot be learned, or a held-out image is trained on."""
    problems, warnings = [], []
    for same in _find_copies(facts):
        sides = [[case for case in same if (case in held_out) == side] for side in (False, True)]
        if all(sides):
            problems.append(
                f"{sides[1][0]}: is held out, and the same image is trained on as {sides[0][0]}: its score would "
                "be too high; remove one of them"
            )
    for name in classes:
        examples = [fact for fact in facts if fact.volumes_ml[name]]
        if facts and all(name in fact.unannotated for fact in facts):
            problems.append(
                f"the class {name} is annotated in no case: add it to the lists in dataset.json, or remove it"
            )
        elif not examples:
            problems.append(f"the class {name} is in no case: take it out of dataset.json, or add cases that have it")
        elif all(name in fact.lost for fact in examples):
            problems.append(
                f"the class {name} has no voxel on the network's grid in any case: set a smaller data.spacing_mm"
            )
        elif all(fact.id in held_out for fact in examples):
            warnings.append(f"the class {name} is only in cases that are held out: it cannot be learned")
        elif all(fact.id in held_out or name in fact.lost for fact in examples):
            warnings.append(
                f"the class {name} has no voxel on the network's grid in any case that is trained on: it cannot be "
                "learned; set a smaller data.spacing_mm"
            )
        elif held_out and not any(fact.id in held_out for fact in examples):
            warnings.append(
                f"the class {name} is in no held-out case: its Dice cannot be measured; try another data.fold"
            )
    if problems:
        raise DataError("\n".join(problems))
    return warnings


def shorten(messages: Sequence[str]) -> list[str]:
    """Return messages of the form "FILE: TEXT", with a text that many files share listed once, with their number."""
    by_words: dict[str, list[str]] = defaultdict(list)
    for message in messages:
        by_words[message.partition(": ")[2] or message].append(message)
    short = []
    for words, same in by_words.items():
        file = same[0].partition(": ")[0]
        short += same if len(same) <= MAX_REPEATS else [f"{len(same)} times: {words} (the first: {file})"]
    return short


def _looks_like_time_series(fact: CaseFacts) -> bool:
    """Return whether a case has many channels that hardly differ."""
    values = fact.quantiles
    differences = np.abs(values - np.median(values, axis=0))
    return len(values) > MANY_CHANNELS and bool((differences <= ALIKE * np.ptp(values)).all())


def _find_copies(facts: Sequence[CaseFacts]) -> list[list[str]]:
    """Return groups of ids of cases with the same image; images with one value are no copies but empty."""
    by_digest: dict[str, list[str]] = defaultdict(list)
    for fact in facts:
        if any(low != high for low, *_, high in fact.quantiles):
            by_digest[fact.digest].append(fact.id)
    return [same for same in by_digest.values() if len(same) > 1]
