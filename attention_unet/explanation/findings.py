"""What the checks of a network show, over their cases and in plain words: no more than each control supports."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

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
    CaseChecks,
)
from attention_unet.explanation.deletion import SHARES, area

FEWEST = 6  # cases, below which an interval is too wide for a verdict
LOW_DICE = 0.5  # mean Dice below which a network has learned too little for the checks to mean much
ALIKE, UNLIKE = 0.7, 0.4  # rank correlation of two maps from which, and up to which, they are called alike and not
TOO_FEW = f"too few cases for a verdict, at least {FEWEST} are needed"


def summarise_findings(checks: Sequence[CaseChecks], model_sha256: str) -> dict[str, Any]:
    """Findings as plain values: each case, and sentences over all of them."""
    parts = (_learned, _used, _depends_on_scan, _against_random, _against_second, _deleted, _grad_cam)
    return {
        "model_sha256": model_sha256,
        "cases": [_plain(of_case) for of_case in checks],
        "shares": list(SHARES),
        "sentences": [sentence for part in parts for sentence in part(checks)],
    }


def _learned(checks: Sequence[CaseChecks]) -> list[str]:
    """A warning if the network segments badly."""
    dice = _values(checks, TRAINED)
    if not len(dice) or dice.mean() >= LOW_DICE:
        return []
    random = _values(checks, UNTRAINED)
    beside = f", with random weights {random.mean():.3f}" if len(random) else ""
    return [
        f"Mean Dice of these cases is {dice.mean():.3f}{beside}: this network has learned too little for the checks "
        "below to mean much."
    ]


def _used(checks: Sequence[CaseChecks]) -> list[str]:
    """Whether the network needs its attention, and needs it in certain places."""
    said = []
    if checks and all(set(of.dice) <= {TRAINED, UNTRAINED} for of in checks):
        return ["This network has no attention on its skips or at its bottleneck: there is nothing to check."]
    for how, words, used, unused in (
        (
            "removed",
            "Without its attention (every weight 1)",
            "this network uses its attention; whether one trained without does worse, only another training tells",
            "nothing shows that this network uses its attention",
        ),
        (
            "constant",
            "With the same weight everywhere (their mean)",
            "this network uses that weights differ",
            "nothing shows that it matters where the weights lie",
        ),
    ):
        said += _change(checks, how, TRAINED, words, used, unused)
    return said


def _depends_on_scan(checks: Sequence[CaseChecks]) -> list[str]:
    """Whether the maps depend on the scan or are a fixed pattern of places. The control is the case's own map, which is
    stretched to the common grid and back like the others.
    """
    levels = _levels(checks, OTHER_MAP)
    said = [f"Maps of two cases correlate by {_listed(levels)}."] if levels else []
    for how, words in ((MEAN_MAP, "With the mean map of the other cases"), (OTHER_MAP, "With the map of another case")):
        said += _change(
            checks,
            how,
            OWN_MAP,
            f"{words} in place of its own",
            "the map of the scan itself does better",
            "nothing shows that the maps depend on the scan: a fixed pattern of places does as well",
        )
    return said


def _against_random(checks: Sequence[CaseChecks]) -> list[str]:
    """Whether maps of random weights are others, beside how much two of these are alike."""
    if not any(RANDOM in of.agreement for of in checks):
        return []
    own, random = _levels(checks, RANDOM), _levels(checks, TWO_RANDOM)
    if not own or not random:
        return ["With random weights the maps are flat: there is nothing to compare the trained maps with."]
    highest, control = max(map(abs, own.values())), max(map(abs, random.values()))
    verdict = (
        "the maps owe much to the image or the architecture, not to the training" if highest > ALIKE
        else "any two random networks are as unlike, so that this does not show that anything was learned"
        if highest < UNLIKE and control < UNLIKE
        else "the training has changed the maps" if highest < UNLIKE
        else "the maps are partly due to the image or the architecture"
    )  # fmt: skip
    return [
        f"Maps correlate with those of random weights by {_listed(own)}; those of two random networks by "
        f"{_listed(random)} (n = {len(checks)}): {verdict}."
    ]


def _against_second(checks: Sequence[CaseChecks]) -> list[str]:
    """Whether another training with the same data looks at the same places, beside other cases of this training."""
    if not any(SECOND in of.agreement for of in checks):
        return []
    trainings, cases = _levels(checks, SECOND), _levels(checks, OTHER_MAP)
    if not trainings:
        return ["The maps of the second training are flat: there is nothing to compare."]
    lowest = min(trainings.values())
    verdict = (
        "both trainings weigh the same places" if lowest > ALIKE
        else "what a map shows depends on the seed" if lowest < UNLIKE
        else "both trainings partly weigh the same places"
    )  # fmt: skip
    beside = f", maps of two cases by {_listed(cases)}" if cases else ""
    return [f"Maps of two trainings correlate by {_listed(trainings)}{beside} (n = {len(checks)}): {verdict}."]


def _deleted(checks: Sequence[CaseChecks]) -> list[str]:
    """Whether attention marks what matters better than the place of the structure does."""
    known = [of for of in checks if of.deletion and not np.isnan(of.dice[TRAINED])]
    curves = [of.deletion for of in known if of.deletion]
    if not curves:
        return []
    losses = np.array([(area(of.by_chance), area(of.by_distance), area(of.by_attention)) for of in curves])
    than_chance, than_distance = (losses[:, control] - losses[:, 2] for control in (0, 1))
    low, high = interval_of_mean(than_distance, [of.subject or of.case for of in known])
    verdict = (
        TOO_FEW if len(losses) < FEWEST
        else "attention marks what matters better than the place of the structure does" if low > 0
        else "the place of the structure marks what matters better than attention does" if high < 0
        else "attention marks what matters no better than the place of the structure does"
    )  # fmt: skip
    costs = f"{than_chance.mean():.3f} of Dice more than at random, and {than_distance.mean():+.3f} compared with"
    return [
        f"Deleting the scan where attention of level {curves[0].level} is highest costs {costs} deleting by distance "
        f"to the network's own prediction, as a mean of 0 to {SHARES[-1]:.0%} deleted ({_interval(low, high)}"
        f"n = {len(losses)}): {verdict}."
    ]


def _grad_cam(checks: Sequence[CaseChecks]) -> list[str]:
    means = {}
    for name in checks[0].grad_cam if checks else ():
        values = [of.grad_cam[name] for of in checks if not np.isnan(of.grad_cam[name])]
        if values:
            means[name] = float(np.mean(values))
    if not means:
        return []
    listed = ", ".join(f"{mean:.3f} ({name})" for name, mean in means.items())
    return [f"For comparison, Grad-CAM tells the classes from their surroundings with an AUC of {listed}."]


def _change(checks: Sequence[CaseChecks], how: str, control: str, words: str, used: str, unused: str) -> list[str]:
    """A sentence on the change of Dice from one condition to another; none if a case lacks them."""
    both = [of for of in checks if how in of.dice and control in of.dice]
    known = [of for of in both if not np.isnan(of.dice[how] - of.dice[control])]
    if not known:
        return []
    changes = np.array([of.dice[how] - of.dice[control] for of in known])
    low, high = interval_of_mean(changes, [of.subject or of.case for of in known])
    mean = float(changes.mean())
    verdict = (
        TOO_FEW if len(changes) < FEWEST
        else used if high < 0
        else "the network does better so" if low > 0
        else unused
    )  # fmt: skip
    direction = "falls" if mean < 0 else "rises"
    bounds = (-high, -low) if mean < 0 else (low, high)
    return [f"{words}, mean Dice {direction} by {abs(mean):.3f} ({_interval(*bounds)}n = {len(changes)}): {verdict}."]


def _values(checks: Sequence[CaseChecks], how: str) -> np.ndarray:
    """Dice of a condition over the cases that have one."""
    values = np.array([of.dice[how] for of in checks if how in of.dice])
    known: np.ndarray = values[~np.isnan(values)] if len(values) else values
    return known


def _levels(checks: Sequence[CaseChecks], pair: str) -> dict[int, float]:
    """Mean correlation of a pair of maps by level."""
    levels = sorted({level for of in checks for level in of.agreement.get(pair, {})})
    return {
        level: float(np.mean([of.agreement[pair][level] for of in checks if level in of.agreement.get(pair, {})]))
        for level in levels
    }


def _listed(means: dict[int, float]) -> str:
    return ", ".join(f"{mean:.2f} at level {level}" for level, mean in means.items())


def _interval(low: float, high: float) -> str:
    """In words; nothing where there is none."""
    return "" if np.isnan(low) else f"95% interval {low:.3f} to {high:.3f}, "


def _plain(of_case: CaseChecks) -> dict[str, Any]:
    """Plain values for a JSON file: NaN as null."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {str(key): plain(of) for key, of in value.items()}
        if isinstance(value, list):
            return [plain(of) for of in value]
        return None if isinstance(value, float) and np.isnan(value) else value

    return dict(plain(dataclasses.asdict(of_case)))
