"""What the results of a study show beyond its hypotheses. Nothing here is tested: there are no p values."""

from collections.abc import Mapping, Sequence

import numpy as np

from attention_unet.study.design import Study
from attention_unet.study.finished import Results
from attention_unet.study.gains import DiceOf, Gain, Pairs
from attention_unet.study.scores import (
    NOT_FOUND,
    VALIDATION,
    Score,
    dice_at_step,
    dice_where_present,
    final_dice,
    of_predictions,
    person_dice,
    validation_steps,
    without_absent,
)


def class_names(results: Results) -> list[str]:
    """Return the names of the classes, in order."""
    return list(dict.fromkeys(score.class_name for scores in results.values() for score in scores))


def common_results(study: Study, persons: int | None, results: Results) -> Results:
    """Return the trainings with folds and seeds that all arms have finished, so that means of arms can be compared.

    Arms without any result are left out. So are structures that neither the reference nor any of these trainings has.
    """
    of_arms = [
        {(cell.seed, cell.fold) for cell in results if (cell.arm, cell.persons) == (name, persons)}
        for name in study.arms
    ]
    common = set.intersection(*(each for each in of_arms if each)) if any(of_arms) else set()
    return without_absent(
        {cell: results[cell] for cell in results if cell.persons == persons and (cell.seed, cell.fold) in common}
    )


def metrics_in_class(arm: str, results: Results, name: str) -> dict[str, float | None]:
    """Return mean Dice, mean NSD and median HD95 of an arm in one class, over trainings and cases; None without any.

    Where reference and prediction are both empty, they count as 1, 1 and 0. Masks without a surface beside annotated
    voxels have no distance, and are left out.
    """
    found = [
        score
        for cell, scores in results.items()
        if cell.arm == arm
        for score in of_predictions(scores)
        if score.class_name == name
    ]
    empty = np.isnan([score.dice for score in found])
    means: dict[str, float | None] = {}
    for metric, perfect, average in (("dice", 1.0, np.mean), ("nsd", 1.0, np.mean), ("hd95_mm", 0.0, np.median)):
        values = np.where(empty, perfect, [getattr(score, metric) for score in found])
        known = values[~np.isnan(values)]
        means[metric] = float(average(known)) if len(known) else None
    return means


def gain_in_class(pairs: Pairs, name: str) -> Gain:
    """Return the gain of an arm over another in one class."""

    def dice(scores: Sequence[Score]) -> Mapping[str, float]:
        return final_dice(score for score in scores if score.class_name == name)

    return pairs.gain(dice, dice)


def gain_at_equal_time(pairs: Pairs, ratio: float) -> Gain:
    """Return the gain of an arm over another when the slower one has trained for no more seconds than the faster.

    It compares validations; that of the slower arm lies between two of them, on the line through both. Its mean is NaN
    if the time ends before the first validation. ``ratio`` is the time of a step of the arm, as a multiple of the
    other's.
    """

    def at(share: float) -> DiceOf:
        def dice(scores: Sequence[Score]) -> Mapping[str, float]:
            steps = validation_steps(scores)
            return dice_at_step(scores, steps[-1] * share) if steps else {}

        return dice

    return pairs.gain(at(min(1.0, 1 / ratio)), at(min(1.0, ratio)))


def learning_curve(arm: str, results: Results) -> list[tuple[int, float]]:
    """Return the mean Dice of an arm at each validation, over its trainings and persons."""
    by_step: dict[int, list[float]] = {}
    for cell, scores in results.items():
        if cell.arm == arm:
            for step in validation_steps(scores):
                of_step = (score for score in scores if score.stage == VALIDATION and score.step == step)
                by_step.setdefault(step, []).append(float(np.mean(list(person_dice(of_step).values()))))
    return [(step, float(np.mean(values))) for step, values in sorted(by_step.items())]


def gains_by_volume(pairs: Pairs) -> list[tuple[float, float, str, str]]:
    """Return reference volume in ml, gain of Dice, case and class, for each structure of a held-out case.

    The gain is the mean over pairs of trainings.
    """
    gains: dict[tuple[float, str, str], list[float]] = {}
    for both in pairs.scores.values():
        ours, theirs = (
            {(s.reference_ml, s.case, s.class_name): s.dice for s in of_predictions(scores) if s.reference_ml > 0}
            for scores in both
        )
        for key in ours:
            gains.setdefault(key, []).append(ours[key] - theirs[key])
    return [(volume, float(np.mean(values)), case, name) for (volume, case, name), values in gains.items()]


def missed_structures(results: Results) -> list[str]:
    """Return a sentence for each structure that no arm finds: there, a gain of zero says nothing."""
    arms = {cell.arm for cell in results}
    by_arm = [
        dice_where_present(s for cell, scores in results.items() if cell.arm == arm for s in scores) for arm in arms
    ]
    return [
        f"No arm finds {name}: where it is, its Dice is below {NOT_FOUND:g} in all arms. So its gain is about zero, "
        "and pulls the mean gain towards zero. Train longer."
        for name in class_names({cell: of_predictions(scores) for cell, scores in results.items()})
        if (dice := [by_class[name] for by_class in by_arm if name in by_class]) and max(dice) < NOT_FOUND
    ]


def variation(gain: Gain) -> dict[str, float | None]:
    """Return where a gain varies: standard deviations between folds, seeds of a fold, and persons of a training."""
    folds = gain.by_fold()
    many = [fold for fold in folds if len(fold) > 1]
    return {
        "of_folds": _spread([float(fold.mean()) for fold in folds]),
        "of_seeds": _root_mean([_spread(fold.mean(axis=1).tolist()) for fold in many]),
        "of_persons": _root_mean([_spread(gains.tolist()) for gains in gain.by_pair.values()]),
    }


def _spread(values: Sequence[float]) -> float | None:
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def _root_mean(spreads: Sequence[float | None]) -> float | None:
    known = [spread for spread in spreads if spread is not None]
    return float(np.sqrt(np.mean(np.square(known)))) if known else None
