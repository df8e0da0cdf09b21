"""Summarise the checks over all cases in sentences that claim no more than each control supports."""

import dataclasses
import json
import statistics
from collections.abc import Sequence
from itertools import compress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attention_unet.errors import plural
from attention_unet.evaluation.interval import interval_of_mean
from attention_unet.explanation.checks import (
    MEAN_MAP,
    OTHER_MAP,
    OWN_MAP,
    RANDOM,
    SECOND,
    TRAINED,
    TWO_RANDOM,
    UNTRAINED,
    WITHOUT,
    CaseChecks,
)
from attention_unet.explanation.deletion_curve import SHARES, mean_height
from attention_unet.places import PLACES

LEVEL = 0.99  # of each interval, so that the five verdicts on attention are all right with a chance of 95 %
MIN_PERSONS = 6  # with fewer persons, an interval is too wide for a verdict
LOW_DICE = 0.5  # mean Dice below which the checks mean little
ALIKE, UNLIKE = 0.7, 0.4  # two maps are alike above this rank correlation, and unlike below that
TOO_FEW = f"too few persons for a verdict, at least {MIN_PERSONS} are needed"


def summarise_findings(checks: Sequence[CaseChecks], model_sha256: str) -> dict[str, Any]:
    """Return the findings as plain values: the checks of each case, and sentences over all cases."""
    parts = (
        _report_low_dice,
        _report_missing_channels,
        _report_ablations,
        _report_exchanged_maps,
        _compare_with_random,
        _compare_with_second,
        _report_deletion,
        _report_grad_cam,
    )
    cases = json.dumps([dataclasses.asdict(case) for case in checks])
    return {
        "model_sha256": model_sha256,
        "cases": json.loads(cases, parse_constant=lambda _: None),  # NaN as null
        "shares": list(SHARES),
        "sentences": [sentence for part in parts for sentence in part(checks)],
    }


def _report_low_dice(checks: Sequence[CaseChecks]) -> list[str]:
    """Return a warning if the network segments badly."""
    dice = _dice_values(checks, TRAINED)
    if not len(dice) or dice.mean() >= LOW_DICE:
        return []
    random = _dice_values(checks, UNTRAINED)
    beside = f", with random weights {random.mean():.3f}" if len(random) else ""
    return [
        f"Mean Dice of these cases is {dice.mean():.3f}{beside}: this network has learned too little for the checks "
        "below to mean much."
    ]


def _report_ablations(checks: Sequence[CaseChecks]) -> list[str]:
    """Report whether the network needs its attention, and whether weights must differ between positions."""
    if checks and not any("removed" in case.dice for case in checks):
        return ["This network has no attention that can be checked."]
    words = "Without its attention (features pass unchanged)"
    used = (
        "this network uses its attention, if only the mean of the weights; only another training can show whether a "
        "network without it is worse"
    )
    unused = "nothing shows that this network uses its attention"
    removed = _report_change(checks, "removed", TRAINED, words, used, unused)
    words = "With the same weight everywhere (their mean)"
    used = "this network uses the differences between weights"
    unused = "nothing shows that the differences between weights matter"
    return removed + _report_change(checks, "constant", TRAINED, words, used, unused)


def _report_missing_channels(checks: Sequence[CaseChecks]) -> list[str]:
    """Report what each channel of the image is worth to the network."""
    used = "this network uses the channel"
    sentences = []
    for condition in dict.fromkeys(name for case in checks for name in case.dice if name.startswith(WITHOUT)):
        words = f"Without the channel {condition.removeprefix(WITHOUT)}"
        sentences += _report_change(checks, condition, TRAINED, words, used, f"nothing shows that {used}")
    return sentences


def _report_exchanged_maps(checks: Sequence[CaseChecks]) -> list[str]:
    """Report whether the maps depend on the scan or are a fixed pattern of positions.

    The control is the case's own map, resized to the common grid and back like the others.
    """
    correlations = _mean_correlations(checks, OTHER_MAP)
    sentences = [f"Maps of two cases correlate by {_list_places(correlations)}."] if correlations else []
    better, unshown = "the map of the scan itself is better", "this does not show that the maps depend on the scan"
    for condition, words in ((MEAN_MAP, "the mean map of the other cases"), (OTHER_MAP, "the map of another case")):
        sentences += _report_change(checks, condition, OWN_MAP, f"With {words} instead of its own", better, unshown)
    return sentences


def _compare_with_random(checks: Sequence[CaseChecks]) -> list[str]:
    """Report whether trained maps differ from maps of random weights; the control is two random networks."""
    if not any(RANDOM in case.agreement for case in checks):
        return []
    trained, random = _mean_correlations(checks, RANDOM), _mean_correlations(checks, TWO_RANDOM)
    random = {place: random[place] for place in trained if place in random}
    if not random:
        return ["With random weights the maps are flat: there is nothing to compare the trained maps with."]
    persons, count = _count_persons([case for case in checks if case.agreement.get(RANDOM)])
    highest, control = max(map(abs, trained.values())), max(map(abs, random.values()))
    verdict = (
        TOO_FEW if persons < MIN_PERSONS
        else "the maps show mostly the image or the architecture, not the training" if highest > ALIKE
        else "any two random networks differ as much, so this does not show that anything was learned"
        if highest < UNLIKE and control < UNLIKE
        else "the training has changed the maps" if highest < UNLIKE
        else "the maps partly show the image or the architecture"
    )  # fmt: skip
    return [
        f"Maps correlate with those of random weights by {_list_places(trained)}; those of two random networks by "
        f"{_list_places(random)} ({count}): {verdict}."
    ]


def _compare_with_second(checks: Sequence[CaseChecks]) -> list[str]:
    """Report whether another training weighs the same positions; the control is other cases of the same training."""
    if not any(SECOND in case.agreement for case in checks):
        return []
    trainings, cases = _mean_correlations(checks, SECOND), _mean_correlations(checks, OTHER_MAP)
    if not trainings:
        return ["The maps of the second training are flat: there is nothing to compare."]
    lowest = min(trainings.values())
    persons, count = _count_persons([case for case in checks if case.agreement.get(SECOND)])
    verdict = (
        TOO_FEW if persons < MIN_PERSONS
        else "both trainings weigh the same positions, but no more than any two scans do"
        if lowest > ALIKE and any(cases.get(place, -1) >= mean for place, mean in trainings.items())
        else "both trainings weigh the same positions" if lowest > ALIKE
        else "the map depends on the seed of the training" if lowest < UNLIKE
        else "both trainings partly weigh the same positions"
    )  # fmt: skip
    beside = f", maps of two cases by {_list_places(cases)}" if cases else ""
    return [f"Maps of two trainings correlate by {_list_places(trainings)}{beside} ({count}): {verdict}."]


def _report_deletion(checks: Sequence[CaseChecks]) -> list[str]:
    """Report whether attention marks important voxels better than the distance to the prediction does."""
    measured = [(case, case.deletion) for case in checks if case.deletion]
    if not measured:
        return []
    place = statistics.mode(curves.place for _, curves in measured)  # a map can be flat in some cases
    measured = [(case, curves) for case, curves in measured if curves.place == place]
    heights = np.array([[mean_height(c) for c in (d.by_chance, d.by_distance, d.by_attention)] for _, d in measured])
    known = np.isfinite(heights).all(axis=1)
    if not known.any():
        return []
    than_chance, than_distance = (heights[known, control] - heights[known, 2] for control in (0, 1))
    verdict = _judge(
        than_distance,
        list(compress([case for case, _ in measured], known)),
        falls="this distance marks important voxels better than attention does",
        rises="attention marks important voxels better than this distance does",
        neither="this does not show that attention marks important voxels better than the distance",
    )
    return [
        f"Deleting the voxels with the highest attention at {place} lowers Dice "
        f"{_more(than_chance.mean())} than random deletion, and {_more(than_distance.mean())} than deletion by "
        f"distance to the network's own prediction, mean over 0 to {SHARES[-1]:.0%} deleted voxels {verdict}."
    ]


def _more(gain: float) -> str:
    return f"by {abs(gain):.3f} {'more' if gain >= 0 else 'less'}"


def _report_grad_cam(checks: Sequence[CaseChecks]) -> list[str]:
    names = list(checks[0].grad_cam) if checks else []
    known = {name: [auc for case in checks if not np.isnan(auc := case.grad_cam[name])] for name in names}
    listed = ", ".join(f"{np.mean(each):.3f} ({name})" for name, each in known.items() if each)
    text = f"For comparison, Grad-CAM separates the classes from the background with an AUC of {listed}."
    return [text] if listed else []


def _report_change(
    checks: Sequence[CaseChecks], condition: str, control: str, words: str, used: str, unused: str
) -> list[str]:
    """Report the change of Dice from a control to a condition; nothing if no case has both."""
    changes = np.array([case.dice.get(condition, np.nan) - case.dice.get(control, np.nan) for case in checks])
    known = np.isfinite(changes)
    if not known.any():
        return []
    mean, better = float(changes[known].mean()), "the network is better this way"
    verdict = _judge(changes[known], list(compress(checks, known)), falls=used, rises=better, neither=unused)
    return [f"{words}, mean Dice {'falls' if mean < 0 else 'rises'} by {abs(mean):.3f} {verdict}."]


def _judge(changes: NDArray[np.float64], checks: Sequence[CaseChecks], *, falls: str, rises: str, neither: str) -> str:
    """Return the interval of a mean change, the number of cases and the verdict.

    Of a fall, the interval is that of its size. An interval of NaN is left out.
    """
    persons, count = _count_persons(checks)
    low, high = interval_of_mean(changes, [case.subject or case.case for case in checks], LEVEL)
    verdict = TOO_FEW if persons < MIN_PERSONS else falls if high < 0 else rises if low > 0 else neither
    if changes.mean() < 0:
        low, high = -high, -low
    interval = "" if np.isnan(low) else f"{LEVEL:.0%} interval {low:.3f} to {high:.3f}, "
    return f"({interval}{count}): {verdict}"


def _count_persons(checks: Sequence[CaseChecks]) -> tuple[int, str]:
    """Return the number of persons, and the number of cases and, if it differs, of persons in words."""
    persons = len({case.subject or case.case for case in checks})
    of_persons = f" cases of {plural(persons, 'person')}" if persons < len(checks) else ""
    return persons, f"n = {len(checks)}{of_persons}"


def _dice_values(checks: Sequence[CaseChecks], condition: str) -> NDArray[np.float64]:
    """Return the Dice under a condition over the cases that define it."""
    values = [case.dice[condition] for case in checks if condition in case.dice]
    return np.array([value for value in values if not np.isnan(value)])


def _mean_correlations(checks: Sequence[CaseChecks], pair: str) -> dict[str, float]:
    """Return the mean correlation of a pair of maps by place."""
    by_case = [case.agreement.get(pair, {}) for case in checks]
    known = {place: [means[place] for means in by_case if place in means] for place in PLACES}
    return {place: float(np.mean(values)) for place, values in known.items() if values}


def _list_places(means: dict[str, float]) -> str:
    return ", ".join(f"{mean:.2f} at {place}" for place, mean in means.items())
