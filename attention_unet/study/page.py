"""Collect the facts of the page of a study, as plain values."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from attention_unet.config import Config
from attention_unet.errors import plural
from attention_unet.report.scores import to_json_number
from attention_unet.study.costs import Cost
from attention_unet.study.design import Cell, Study, size_name
from attention_unet.study.exploration import (
    class_names,
    common_results,
    gain_at_equal_time,
    gain_in_class,
    gains_by_volume,
    learning_curve,
    metrics_in_class,
    missed_structures,
    variation,
)
from attention_unet.study.finished import CellRecord, Results
from attention_unet.study.gains import Gain, Pairs, find_pairs
from attention_unet.study.registration import Registration
from attention_unet.study.scores import Score, final_dice, of_predictions, without_absent
from attention_unet.study.verdicts import Verdict
from attention_unet.training.resolved_settings import without_folder

NARROWED = [0.001, 0.002, 0.005, 0.01]  # half widths of the 95 % interval, for the number of folds they need


def describe_study(
    study: Study,
    registration: Registration,
    records: Mapping[Cell, CellRecord],
    verdicts: Sequence[Verdict],
    results: Results,
    costs: Mapping[str, Cost] | None,
    maps: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """Return all facts that the page shows."""
    control, *others = study.arms
    most = study.most_persons
    complete = len(results) == len(study.cells())
    common, found = common_results(study, most, results), without_absent(results)
    pairs = {arm: find_pairs(study, results, arm, control, most) for arm in others}
    return {
        "control": control,
        "margin": study.margin,
        "record": registration.sentences(),
        "settings": _describe_settings(study, records, results),
        "done": len(results),
        "total": len(study.cells()),
        "verdicts": [str(verdict) for verdict in verdicts],
        "warnings": [*registration.warnings(), *(missed_structures(common) if complete else [])],
        "gains": _describe_gains(study, verdicts, results),
        "costs": [_describe_cost(study, arm, pairs.get(arm), costs) for arm in study.arms] if costs else None,
        "curves": [{"arm": arm, "points": learning_curve(arm, common)} for arm in study.arms],
        "classes": [
            {
                "name": name,
                "gains": [_numbers(gain_in_class(pairs[arm], name)) for arm in others],
                "metrics": [_to_json(metrics_in_class(arm, common, name)) for arm in study.arms],
            }
            for name in class_names(results)
        ],
        "volumes": {arm: gains_by_volume(pairs[arm]) for arm in others},
        "variation": [
            {
                "name": f"{verdict.claim.arm} against {verdict.claim.against}",
                "persons": verdict.persons,
                **variation(verdict.gain),
                "needed": [verdict.gain.folds_needed(gain) for gain in NARROWED],
            }
            for verdict in verdicts
        ],
        "narrowed": NARROWED,
        "maps": [_describe_maps(arm, found) for arm, found in maps.items()],
        "cells": [{**asdict(cell), "dice": _mean_dice(scores)} for cell, scores in found.items()],
    }


def _describe_settings(study: Study, records: Mapping[Cell, CellRecord], results: Results) -> dict[str, str]:
    """Return the settings of all trainings, in words; where arms differ, all values."""
    arms = list(study.arms.values())
    persons = {score.subject for scores in results.values() for score in of_predictions(scores)}
    cases = {score.case for scores in results.values() for score in of_predictions(scores)}
    most = study.most_persons
    trained_with = {
        ", ".join(f"{name} {number}" for name, number in each.versions.items()) for each in records.values()
    }
    sizes = ", ".join(map(size_name, study.persons))
    explored = f"; beside verdicts and gains, the page shows {size_name(most)}"

    def of_arms(words: Callable[[Config], str]) -> str:
        return " or ".join(dict.fromkeys(map(words, arms)))

    return {
        "dataset": without_folder(arms[0].data.dataset),
        "persons trained on": sizes + (explored if len(study.persons) > 1 else ""),
        "held-out persons so far": f"{len(persons)}, with {plural(len(cases), 'case')}",
        "trained with": " or ".join(sorted(trained_with)),
        "hours of training": f"{sum(record.minutes for record in records.values()) / 60:.1f}",
        "steps": str(arms[0].training.steps),
        "batch": of_arms(lambda arm: str(arm.training.batch)),
        "patch": of_arms(lambda arm: f"{' x '.join(map(str, arm.data.patch or ()))} voxels"),
        "voxel size": of_arms(lambda arm: f"{' x '.join(f'{edge:.3g}' for edge in arm.data.spacing_mm or ())} mm"),
        "channels at the finest level": of_arms(lambda arm: str(arm.network.base_channels or "those of its model")),
        "seeds": "; ".join(f"{arm} {', '.join(map(str, seeds))}" for arm, seeds in study.seeds.items()),
    }


def _describe_gains(study: Study, verdicts: Sequence[Verdict], results: Results) -> list[dict[str, Any]]:
    """Return the gain of each hypothesis and, untested, of each other arm over the first, arm by arm."""
    control = next(iter(study.arms))
    rows = []
    for arm in study.arms:
        of_arm = [verdict for verdict in verdicts if verdict.claim.arm == arm]
        named = {(verdict.claim.against, verdict.persons) for verdict in of_arm}
        untested = [persons for persons in study.persons if arm != control and (control, persons) not in named]
        of_pairs = {persons: find_pairs(study, results, arm, control, persons) for persons in untested}
        gains = [(control, persons, pairs.gain(), False) for persons, pairs in of_pairs.items()]
        gains += [(verdict.claim.against, verdict.persons, verdict.gain, True) for verdict in of_arm]
        rows += [
            {"arm": arm, "against": against, "persons": persons, "tested": is_tested, **_numbers(gain)}
            for against, persons, gain, is_tested in gains
        ]
    return rows


def _describe_cost(study: Study, arm: str, pairs: Pairs | None, costs: Mapping[str, Cost]) -> dict[str, Any]:
    """Return the cost of an arm and its gain over the first arm in equal time; ``pairs`` is None for the first arm.

    The range of this gain is that over the measured ratios of times; unsure if it is wider than the margin.
    """
    cost = costs[arm]
    plain = {"arm": arm, "parameters": cost.parameters, "macs": cost.macs, "seconds": cost.seconds, "ratio": cost.ratio}
    ratios = (cost.ratio, cost.least_ratio, cost.most_ratio)
    if pairs is None:
        return {**plain, "gain": None, "range": None, "unsure": False}
    gains = [gain_at_equal_time(pairs, ratio) for ratio in ratios]
    means = [gain.mean for gain in gains]
    known = not any(map(math.isnan, means))
    return {
        **plain,
        "gain": _numbers(gains[0]),
        "range": [min(means), max(means)] if known else None,
        "unsure": bool(gains[0].by_pair) and (not known or max(means) - min(means) > study.margin),
    }


def _describe_maps(arm: str, found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sentences of the checks, and the mean Dice under each condition."""
    conditions = dict.fromkeys(name for case in found["cases"] for name in case["dice"])
    dice = {
        name: [case["dice"][name] for case in found["cases"] if case["dice"].get(name) is not None]
        for name in conditions
    }
    means = {name: float(np.mean(values)) for name, values in dice.items() if values}
    return {"arm": arm, "sentences": found["sentences"], "dice": means, "cases": len(found["cases"])}


def _to_json(metrics: Mapping[str, float | None]) -> dict[str, float | str | None]:
    """Return metrics for JSON, which has no infinity."""
    return {name: None if value is None else to_json_number(value) for name, value in metrics.items()}


def _numbers(gain: Gain) -> dict[str, Any]:
    """Return mean, intervals and pairs of a gain; what is unknown is None."""
    low95, high95, low90, high90 = *gain.interval(0.95), *gain.interval(0.9)
    plain = {"mean": gain.mean, "low95": low95, "high95": high95, "low90": low90, "high90": high90}
    return {**{name: None if math.isnan(value) else value for name, value in plain.items()}, "pairs": gain.pair_means()}


def _mean_dice(scores: Sequence[Score]) -> float | None:
    dice = list(final_dice(scores).values())
    return float(np.mean(dice)) if dice else None
