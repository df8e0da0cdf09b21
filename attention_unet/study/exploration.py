"""What the results of a study show beyond its hypotheses. Nothing here is tested: there are no p values."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from attention_unet.study.costs import Cost
from attention_unet.study.design import Study
from attention_unet.study.gains import Gain, gain_between
from attention_unet.study.scores import dice_at_step, of_predictions, person_dice, validation_steps
from attention_unet.study.verdicts import Results, Verdict, compare_arms


def class_names(results: Results) -> list[str]:
    """Return the names of the classes, in order."""
    return list(dict.fromkeys(score.class_name for scores in results.values() for score in scores))


def gain_in_class(study: Study, arm: str, against: str, size: int | None, results: Results, name: str) -> Gain:
    """Return the gain of an arm over another in one class."""
    dice = {
        cell: person_dice(score for score in of_predictions(scores) if score.class_name == name)
        for cell, scores in results.items()
    }
    return gain_between(study, arm, against, size, dice)


def gain_at_equal_time(
    study: Study, arm: str, against: str, size: int | None, results: Results, costs: Mapping[str, Cost]
) -> Gain:
    """Return the gain of an arm over another when the slower one has trained for no more seconds than the faster.

    It compares validations; that of the slower arm lies between two of them, on the line through both. Its mean is NaN
    if the time ends before the first validation.
    """
    shortest = min(costs[name].seconds for name in (arm, against))
    dice = {}
    for cell, scores in results.items():
        if cell.arm in (arm, against) and (steps := validation_steps(scores)):
            dice[cell] = dice_at_step(scores, steps[-1] * min(1.0, shortest / costs[cell.arm].seconds))
    return gain_between(study, arm, against, size, dice)


def learning_curve(arm: str, size: int | None, results: Results) -> list[tuple[int, float]]:
    """Return the mean Dice of an arm at each validation, over its trainings and persons."""
    by_step: dict[int, list[float]] = {}
    for cell, scores in results.items():
        if (cell.arm, cell.cases) == (arm, size):
            for step in validation_steps(scores):
                by_step.setdefault(step, []).append(float(np.mean(list(dice_at_step(scores, step).values()))))
    return [(step, float(np.mean(values))) for step, values in sorted(by_step.items())]


def gains_by_volume(
    study: Study, arm: str, against: str, size: int | None, results: Results
) -> list[tuple[float, float, str, str]]:
    """Return reference volume in ml, gain of Dice, case and class, for each held-out case and class.

    The gain is the mean over the seeds.
    """
    values: dict[tuple[str, str], dict[str, list[float]]] = {}
    volumes: dict[tuple[str, str], float] = {}
    seeds = study.common_seeds(arm, against)
    for cell, scores in results.items():
        if cell.arm in (arm, against) and cell.cases == size and cell.seed in seeds:
            for score in of_predictions(scores):
                key = (score.case, score.class_name)
                volumes[key] = score.reference_ml
                if not np.isnan(score.dice):
                    values.setdefault(key, {}).setdefault(cell.arm, []).append(score.dice)
    return [
        (volumes[key], float(np.mean(found[arm]) - np.mean(found[against])), *key)
        for key, found in values.items()
        if len(found) == 2 and volumes[key] > 0
    ]


def displaced_arm(study: Study, arm: str) -> str | None:
    """Return the arm that has the attention of another with its weights displaced; None if there is none.

    All of its attention must be displaced, and nothing else may differ.
    """
    plain = {name: dataclasses.asdict(config) for name, config in study.arms.items()}
    attention = {
        place: spec if place in ("levels", "init") or spec == "identity" else {"displaced": spec}
        for place, spec in plain[arm]["attention"].items()
    }
    if attention == plain[arm]["attention"]:  # there is none
        return None
    return next((name for name, other in plain.items() if other == plain[arm] | {"attention": attention}), None)


def placebo_sentences(study: Study, verdicts: Sequence[Verdict], results: Results) -> list[str]:
    """Return, for each verdict on an arm that has a displaced control, what this control gains."""
    sentences = []
    for verdict in verdicts:
        control, against = displaced_arm(study, verdict.claim.arm), verdict.claim.against
        if control and control != against:
            gain = compare_arms(study, control, against, verdict.size, results)
            low, high = gain.interval(0.95)
            if not math.isnan(low):
                sentences.append(
                    f"With the weights of {verdict.claim.arm} displaced ({control}): {gain.mean:+.4f} over {against} "
                    f"(95% {low:+.4f} to {high:+.4f}, not tested): the part of its gain that is not attention."
                )
    return list(dict.fromkeys(sentences))


def variation(gain: Gain) -> dict[str, float | None]:
    """Return where a gain varies: standard deviations between folds, seeds of a fold, and persons of a training."""
    folds = gain.by_fold()
    many = [fold for fold in folds if len(fold) > 1]
    return {
        "folds": _spread([float(fold.mean()) for fold in folds]),
        "seeds": _root_mean([_spread(fold.mean(axis=1).tolist()) for fold in many]),
        "persons": _root_mean([_spread(gains.tolist()) for gains in gain.by_pair.values()]),
    }


def _spread(values: Sequence[float]) -> float | None:
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def _root_mean(spreads: Sequence[float | None]) -> float | None:
    known = [spread for spread in spreads if spread is not None]
    return float(np.sqrt(np.mean(np.square(known)))) if known else None
