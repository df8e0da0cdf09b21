"""What the checks of a network say, over their cases and in plain words."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from attention_unet.evaluation.interval import interval_of_mean
from attention_unet.explanation.checks import TRAINED, CaseChecks
from attention_unet.explanation.deletion import SHARES, area
from attention_unet.explanation.randomisation import STAGES

FEWEST = 6  # cases, of which chance alone gives all the same sign in 3 of 100 findings
LIKE, UNLIKE = 0.7, 0.4  # rank correlation of two maps from which, and up to which, they are called alike and not
WITHOUT = {  # what is done, and on what a network relies that is the worse for it
    "removed": ("Without its attention (every weight 1)", "its attention"),
    "constant": ("With the same weight everywhere (their mean)", "weights that differ"),
    "shuffled": ("With its weights shuffled", "which weight lies where"),
}
TOO_FEW = f"too few cases to say, expected {FEWEST} or more"
DRAWN = {"attention": "in the attention", "decoder": "in attention and decoder", "all": "in all layers"}


def tell_findings(checks: Sequence[CaseChecks], model_sha256: str) -> dict[str, Any]:
    """Findings as plain values: means over the cases, and sentences."""
    return {
        "model_sha256": model_sha256,
        "cases": [_plain(of_case) for of_case in checks],
        "shares": list(SHARES),
        "sentences": [sentence for tell in (_altered, _randomised, _deleted, _grad_cam) for sentence in tell(checks)],
    }


def _altered(checks: Sequence[CaseChecks]) -> list[str]:
    said = []
    for how, (words, attention) in WITHOUT.items():
        changes = np.array([of.dice[how] - of.dice[TRAINED] for of in checks if how in of.dice])
        changes = changes[~np.isnan(changes)]
        if not len(changes):
            continue
        low, high = interval_of_mean(changes)
        mean = float(changes.mean())
        verdict = (
            TOO_FEW if len(changes) < FEWEST
            else f"the network relies on {attention}" if high < 0
            else "the network does better so" if low > 0
            else "no clear change"
        )  # fmt: skip
        direction = "falls" if mean < 0 else "rises"
        bounds = (-high, -low) if mean < 0 else (low, high)
        said.append(
            f"{words}, mean Dice {direction} by {abs(mean):.3f} ({_interval(*bounds)}n = {len(changes)}): {verdict}."
        )
    if checks and not any(how in of.dice for of in checks for how in WITHOUT):
        said.append("This network has no attention on its skips or at its bottleneck: there is nothing to check.")
    return said


def _randomised(checks: Sequence[CaseChecks]) -> list[str]:
    said = []
    for stage in STAGES:
        levels = sorted({level for of in checks for level in of.similarity.get(stage, {})})
        if not levels:
            continue
        means = {level: float(np.mean([of.similarity[stage][level] for of in checks])) for level in levels}
        highest = max(means.values(), key=abs)
        verdict = (
            "the maps follow from the trained weights" if abs(highest) < UNLIKE
            else "the maps owe much to the image or the architecture, not to the weights" if abs(highest) > LIKE
            else "the maps are partly due to the image or the architecture"
        )  # fmt: skip
        told = ", ".join(f"{mean:.2f} at level {level}" for level, mean in means.items())
        said.append(
            f"With random weights {DRAWN[stage]}, maps correlate with the trained ones by {told} (n = {len(checks)}): "
            f"{verdict}."
        )
    return said


def _deleted(checks: Sequence[CaseChecks]) -> list[str]:
    curves = [of.deletion for of in checks if of.deletion]
    gains = np.array([area(of.by_chance) - area(of.by_attention) for of in curves])
    gains = gains[~np.isnan(gains)]
    if not len(gains):
        return []
    low, high = interval_of_mean(gains)
    verdict = (
        TOO_FEW if len(gains) < FEWEST
        else "what attention lies on matters for the result" if low > 0
        else "what attention lies on matters less than other parts of the scan" if high < 0
        else "attention is no better a guide to what matters than chance"
    )  # fmt: skip
    return [
        f"Deleting the scan where attention of level {curves[0].level} is highest costs {gains.mean():.3f} of Dice "
        f"more than deleting as much at random, as a mean of 0 to {SHARES[-1]:.0%} deleted "
        f"({_interval(low, high)}n = {len(gains)}): {verdict}. Where attention lies on the structures, it is "
        "these that are deleted."
    ]


def _interval(low: float, high: float) -> str:
    """In words; nothing where there is none."""
    return "" if np.isnan(low) else f"95% interval {low:.3f} to {high:.3f}, "


def _grad_cam(checks: Sequence[CaseChecks]) -> list[str]:
    means = {}
    for name in checks[0].grad_cam if checks else ():
        values = [of.grad_cam[name] for of in checks if not np.isnan(of.grad_cam[name])]
        if values:
            means[name] = float(np.mean(values))
    if not means:
        return []
    told = ", ".join(f"{mean:.3f} ({name})" for name, mean in means.items())
    return [f"Grad-CAM, to compare with attention, tells classes from what is around with an AUC of {told}."]


def _plain(of_case: CaseChecks) -> dict[str, Any]:
    """Plain values for a JSON file: NaN as null."""

    def told(value: Any) -> Any:
        if isinstance(value, dict):
            return {str(key): told(of) for key, of in value.items()}
        if isinstance(value, list):
            return [told(of) for of in value]
        return None if isinstance(value, float) and np.isnan(value) else value

    return dict(told(dataclasses.asdict(of_case)))
