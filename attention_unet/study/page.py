"""Collect the facts of the page of a study, as plain values."""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

import numpy as np

from attention_unet.inference.model_file import versions
from attention_unet.scans.label_table import COLOURS
from attention_unet.study.costs import Cost
from attention_unet.study.design import Study
from attention_unet.study.exploration import (
    class_names,
    gain_at_equal_time,
    gain_in_class,
    gains_by_volume,
    learning_curve,
    placebo_sentences,
    variation,
)
from attention_unet.study.gains import Gain
from attention_unet.study.registration import Registration
from attention_unet.study.scores import Score, of_predictions, person_dice
from attention_unet.study.verdicts import Results, Verdict, compare_arms

Costs = Mapping[str, Cost] | None


def describe_study(
    study: Study,
    registration: Registration,
    verdicts: Sequence[Verdict],
    results: Results,
    costs: Costs,
    maps: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """Return all facts that the page shows.

    Args:
        study: the study.
        registration: its record.
        verdicts: the verdict on each hypothesis.
        results: scores of the trainings that are finished.
        costs: cost of each arm; None if they were not measured.
        maps: checks of the attention maps, by arm.
    """
    control, *others = study.arms
    size = study.largest_size
    return {
        "title": study.question,
        "made": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "versions": versions(),
        "colours": COLOURS,
        "control": control,
        "margin": study.margin,
        "recorded": registration.date,
        "sha256": registration.sha256,
        "amendments": registration.amendments,
        "done": len(results),
        "total": len(study.cells()),
        "verdicts": [str(verdict) for verdict in verdicts],
        "placebos": placebo_sentences(study, verdicts, results),
        "gains": _describe_gains(study, verdicts, results),
        "costs": [_describe_cost(study, arm, results, costs) for arm in study.arms] if costs else None,
        "curves": [{"arm": arm, "points": learning_curve(arm, size, results)} for arm in study.arms],
        "classes": [
            {
                "name": name,
                "gains": [_numbers(gain_in_class(study, arm, control, size, results, name)) for arm in others],
            }
            for name in class_names(results)
        ],
        "volumes": {arm: gains_by_volume(study, arm, control, size, results) for arm in others},
        "variation": [
            {
                "name": f"{verdict.claim.arm} against {verdict.claim.against}",
                "size": verdict.size,
                **variation(verdict.gain),
                "needed": [verdict.gain.folds_needed(gain) for gain in (0.001, 0.002, 0.005, 0.01)],
            }
            for verdict in verdicts
        ],
        "maps": [_describe_maps(arm, found) for arm, found in maps.items()],
        "cells": [
            {"arm": cell.arm, "size": cell.cases, "seed": cell.seed, "fold": cell.fold, "dice": _mean_dice(scores)}
            for cell, scores in results.items()
        ],
    }


def _describe_gains(study: Study, verdicts: Sequence[Verdict], results: Results) -> list[dict[str, Any]]:
    """Return the gain of each hypothesis and, untested, of each other arm over the first, arm by arm."""
    control, *others = study.arms
    rows = []
    for arm in others:
        of_arm = [verdict for verdict in verdicts if verdict.claim.arm == arm]
        named = {(verdict.claim.against, verdict.size) for verdict in of_arm}
        untested = [size for size in study.sizes if (control, size) not in named]
        explored = [(control, size, compare_arms(study, arm, control, size, results), False) for size in untested]
        tested = [(verdict.claim.against, verdict.size, verdict.gain, True) for verdict in of_arm]
        rows += [
            {"arm": arm, "against": against, "size": size, "tested": is_tested, **_numbers(gain)}
            for against, size, gain, is_tested in explored + tested
        ]
    return rows


def _describe_cost(study: Study, arm: str, results: Results, costs: Mapping[str, Cost]) -> dict[str, Any]:
    """Return the cost of an arm, and its gain over the first arm in equal time."""
    control = next(iter(study.arms))
    cost = costs[arm]
    plain = {"arm": arm, "parameters": cost.parameters, "macs": cost.macs, "seconds": cost.seconds}
    if arm == control:
        return {**plain, "gain": None}
    gain = gain_at_equal_time(study, arm, control, study.largest_size, results, costs)
    return {**plain, "gain": _numbers(gain)}


def _describe_maps(arm: str, found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sentences of the checks, and the mean Dice under each condition."""
    conditions = dict.fromkeys(name for case in found["cases"] for name in case["dice"])
    dice = {
        name: [case["dice"][name] for case in found["cases"] if case["dice"].get(name) is not None]
        for name in conditions
    }
    means = {name: float(np.mean(values)) for name, values in dice.items() if values}
    return {"arm": arm, "sentences": found["sentences"], "dice": means, "cases": len(found["cases"])}


def _numbers(gain: Gain) -> dict[str, Any]:
    """Return mean, intervals and pairs of a gain; what is unknown is None."""
    low95, high95, low90, high90 = *gain.interval(0.95), *gain.interval(0.9)
    plain = {"mean": gain.mean, "low95": low95, "high95": high95, "low90": low90, "high90": high90}
    return {**{name: None if math.isnan(value) else value for name, value in plain.items()}, "pairs": gain.pair_means()}


def _mean_dice(scores: Sequence[Score]) -> float:
    return float(np.mean(list(person_dice(of_predictions(scores)).values())))
