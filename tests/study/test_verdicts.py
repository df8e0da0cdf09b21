"""Verdicts on made results, whose truth is known."""

import dataclasses
import math

import numpy as np
import pytest
from scipy.stats import t

from attention_unet.study.scores import Score
from attention_unet.study.verdicts import judge
from tests.study.build import BETTER, EQUIVALENT, study, with_all

CASES, CASE_SD = 20, 0.0042  # of a case in a training, as measured on the hippocampus

SIMULATIONS = 300


def made(plan, gain, random, run_sd=0.0007, arm_by_case_sd=0.002, fold_sd=0.0):
    """Results whose gate truly gains ``gain``: random effects of case, arm in a case, fold, run, and the rest."""
    results, cells = {}, plan.cells()
    for fold in plan.folds:
        cases = 0.88 + random.normal(0, 0.03, CASES)
        of_arm = {"none": 0, "gate": gain + random.normal(0, fold_sd) + random.normal(0, arm_by_case_sd, CASES)}
        for cell in cells:
            if cell.fold == fold:
                dice = cases + of_arm[cell.arm] + random.normal(0, run_sd) + random.normal(0, CASE_SD, CASES)
                names = [f"{fold}-{case}" for case in range(CASES)]
                results[cell] = [
                    Score("prediction", 4, n, n, "block", value) for n, value in zip(names, dice, strict=True)
                ]
    return results


def test_a_gain_beyond_the_margin_is_found():
    plan = study(hypotheses=[BETTER, EQUIVALENT], folds=range(4))
    better, equivalent = judge(plan, made(plan, 0.01, np.random.RandomState(0)))
    assert (better.outcome, equivalent.outcome) == ("better", "not equivalent")
    assert "gate and none are not equivalent within 0.005: +0.0" in str(equivalent)
    assert better.p < equivalent.p
    assert (better.p_holm, equivalent.p_holm) == (2 * better.p, max(2 * better.p, equivalent.p))
    assert better.gain.mean == pytest.approx(0.01, abs=0.002)
    low, high = better.gain.interval(0.95)
    assert low < 0.01 < high
    assert better.robust
    assert better.gain.widened(4).error == pytest.approx(better.gain.error * math.sqrt(1 + 4 / 3))
    assert better.gain.widened(4).mean == better.gain.mean
    assert "gate is better than none: +0.0" in str(better)
    assert str(better).endswith("more than the margin of 0.005.")
    worse, equivalent = judge(plan, made(plan, -0.01, np.random.RandomState(0)))
    assert (worse.outcome, equivalent.outcome) == ("worse", "not equivalent")


def test_arms_that_learned_nothing_are_not_called_equivalent():
    plan = study(hypotheses=[EQUIVALENT], folds=range(4), run_seeds=range(3))
    learned = made(plan, 0.0, np.random.RandomState(1))
    nothing = {c: [dataclasses.replace(s, dice=s.dice / 20) for s in scores] for c, scores in learned.items()}
    assert [judge(plan, results)[0].outcome for results in (learned, nothing)] == ["equivalent", "not decided"]
    assert "neither finds any structure" in str(judge(plan, nothing)[0])
    apart = made(plan, 0.8, np.random.RandomState(1))  # after the division, 0.04 and 0.02
    apart = {c: [dataclasses.replace(s, dice=s.dice / 40) for s in scores] for c, scores in apart.items()}
    assert judge(plan, apart)[0].outcome == "not decided"


def test_cases_without_the_structure_and_other_arms_do_not_hide_that_two_arms_learned_nothing():
    plan = study(hypotheses=[EQUIVALENT], folds=range(4), run_seeds=range(3))
    scores = made(plan, 0.0, np.random.RandomState(1))
    for cell, of_cell in scores.items():
        without = [Score("prediction", 4, f"{cell.fold}-{i}", f"{cell.fold}-{i}", "block", math.nan) for i in range(9)]
        scores[cell] = [*(dataclasses.replace(s, dice=s.dice / 20) for s in of_cell), *without]
    other = {dataclasses.replace(cell, arm="other"): made_well(of_cell) for cell, of_cell in scores.items()}
    assert judge(plan, scores | other)[0].outcome == "not decided"


def made_well(scores):
    return [dataclasses.replace(score, dice=0.9) for score in scores]


def test_equal_arms_are_equivalent_and_a_small_gain_does_not_matter():
    plan = study(hypotheses=[EQUIVALENT, BETTER], folds=range(4), run_seeds=range(3))
    verdict = judge(plan, made(plan, 0.0, np.random.RandomState(1)))[0]
    assert verdict.outcome == "equivalent"
    assert "gate and none are equivalent within 0.005" in str(verdict)
    low, high = verdict.gain.interval(0.9)
    assert -0.005 < low < high < 0.005
    assert f"(90% {low:+.4f} to {high:+.4f}" in str(verdict)
    small = judge(plan, made(plan, 0.0025, np.random.RandomState(1)))[1]
    assert small.outcome == "better"
    assert "but less than the margin of 0.005." in str(small)
    near = judge(plan, made(plan, -0.005, np.random.RandomState(1)))[1]
    low, high = near.gain.interval(0.95)
    assert low < -0.005 < high < 0
    assert "gate is worse than none" in str(near)
    assert "perhaps less than the margin of 0.005." in str(near)


def test_a_verdict_that_overlapping_training_sets_could_explain_is_not_robust():
    plan = study(hypotheses=[BETTER], folds=range(4))
    found = [judge(plan, made(plan, 0.003, np.random.RandomState(seed)))[0] for seed in range(40)]
    decided = [verdict for verdict in found if verdict.outcome == "better"]
    assert {verdict.robust for verdict in decided} == {True, False}
    for verdict in decided:
        low, _ = verdict.gain.widened(plan.arms["none"].data.folds).interval(0.95)
        assert verdict.robust == (low > 0) == ("Not robust" not in str(verdict))
    some = study(hypotheses=[BETTER], folds=range(2))  # of four: a third of the cases is held out for each trained on
    found = [judge(some, made(some, 0.02, np.random.RandomState(seed)))[0] for seed in range(40)]
    for verdict in (each for each in found if each.outcome == "better"):
        half = t.ppf(0.975, 1) * verdict.gain.error * math.sqrt(1 + 2 / 3)
        assert verdict.robust == (verdict.gain.mean > half)


def test_few_trainings_decide_nothing():
    plan = study(hypotheses=[BETTER], folds=[0], run_seeds=[0])
    results = made(plan, 0.01, np.random.RandomState(2))
    [single] = judge(plan, results)
    assert (single.outcome, single.p, len(single.gain.by_pair)) == ("not decided", 1.0, 1)
    few = "1 training each on 1 fold: too few trainings or persons."
    assert str(single) == f"Not decided whether gate is better than none: {single.gain.mean:+.4f}, {few}"
    [none] = judge(plan, {})
    assert (none.outcome, none.gain.missing, str(none)) == ("no result", 1, "gate against none: no result yet.")
    one_person = study(hypotheses=[BETTER], folds=[0], run_seeds=[0, 1, 2])
    results = {cell: scores[:1] for cell, scores in made(one_person, 0.05, np.random.RandomState(2)).items()}
    assert judge(one_person, results)[0].outcome == "not decided"
    two_seeds = study(hypotheses=[BETTER], folds=[0], run_seeds=[0, 1])
    assert judge(two_seeds, made(two_seeds, 0.05, np.random.RandomState(2)))[0].outcome == "not decided"
    assert judge(one_person, made(one_person, 0.05, np.random.RandomState(2)))[0].outcome == "better"


def test_an_unfinished_study_says_so():
    plan = study(hypotheses=[BETTER], folds=range(4))
    results = made(plan, 0.0, np.random.RandomState(4), run_sd=0.01)
    del results[plan.cells()[0]]
    [part] = judge(plan, results)
    assert (part.gain.missing, len(part.gain.by_pair), part.gain.freedom, part.outcome) == (1, 7, 3, "not decided")
    needed = part.gain.folds_needed(0.005)
    some = f"about {float(f'{needed:.2g}'):.0f} folds, each with as many new persons"
    narrow = f"If folds vary as these do, {some}, would narrow the interval to \N{PLUS-MINUS SIGN}0.005."
    assert str(part).startswith("Not decided whether gate is better than none: ")
    assert str(part).endswith(f"by Holm), 7 trainings each on 4 folds. {narrow} 1 pair of trainings missing: interim.")
    assert part.gain.folds_needed(1.01 * t.ppf(0.975, 3) * part.gain.error) is None  # it is that narrow
    wide, narrow = (t.ppf(0.975, n - 1) * part.gain.error * 2 / math.sqrt(n) for n in (needed - 1, needed))
    assert wide > 0.005 >= narrow
    of_a_fold = [np.mean([gain.mean() for (_, f), gain in part.gain.by_pair.items() if f == fold]) for fold in range(4)]
    assert (part.gain.mean, part.gain.error) == pytest.approx((np.mean(of_a_fold), np.std(of_a_fold, ddof=1) / 2))


def test_arms_that_are_equal_to_the_last_bit_get_no_verdict():
    plan = study(hypotheses=[EQUIVALENT, BETTER])
    results = made(plan, 0.0, np.random.RandomState(0), run_sd=0, arm_by_case_sd=0)
    same = {cell: results[next(c for c in results if c.fold == cell.fold)] for cell in results}
    assert [verdict.outcome for verdict in judge(plan, same)] == ["not decided", "not decided"]
    shifted = {
        cell: [dataclasses.replace(score, dice=score.dice + 0.01 * (cell.arm == "gate")) for score in scores]
        for cell, scores in same.items()
    }
    assert [verdict.outcome for verdict in judge(plan, shifted)] == ["not decided", "not decided"]


def test_several_claims_are_corrected_together_also_those_that_are_refuted():
    """One of ten claims of equivalence is just outside the margin: by itself it is refuted, among ten it is not."""
    results = made(study(folds=range(4)), 0.0069, np.random.RandomState(6))
    words = {
        number: [v.outcome for v in judge(study(hypotheses=[EQUIVALENT] * number, folds=range(4)), results)]
        for number in (1, 10)
    }
    assert words == {1: ["not equivalent"], 10: ["not decided"] * 10}


def test_structures_that_nobody_has_do_not_dilute_a_gain():
    plan = study(folds=range(4))
    results = made(plan, 0.01, np.random.RandomState(0))
    nobody = Score("prediction", 4, "", "", "dot", math.nan)
    with_absent = {
        cell: [*scores, *(dataclasses.replace(nobody, case=s.case, subject=s.subject) for s in scores)]
        for cell, scores in results.items()
    }
    [plain], [same] = judge(plan, results), judge(plan, with_absent)
    assert same.gain.mean == plain.gain.mean
    first = next(cell for cell in plan.cells() if cell.arm == "gate")
    with_absent[first][-1] = dataclasses.replace(with_absent[first][-1], dice=0.0)  # predicts it: a loss
    assert judge(plan, with_absent)[0].gain.mean < plain.gain.mean - 0.001


QUICK = ((5, 1, 0.0004, 0.003), (5, 3, 0.0012, 0), (2, 2, 0.0004, 0), (1, 3, 0.0004, 0))
SPREADS = ((0.0004, 0), (0.0012, 0), (0.0004, 0.003))
TRAININGS = [(*size, *spread) for size in ((5, 1), (5, 3), (2, 2), (1, 3)) for spread in SPREADS]


@pytest.mark.parametrize(
    ("folds", "seeds", "run_sd", "fold_sd"),
    [pytest.param(*each, marks=[pytest.mark.long] * (each not in QUICK)) for each in TRAININGS],
)
def test_equal_arms_are_seldom_called_different(folds, seeds, run_sd, fold_sd):
    arms = with_all(study(), "data", folds=max(folds, 2)).arms
    plan = study(hypotheses=[BETTER], folds=range(folds), run_seeds=range(seeds), arms=arms)
    random = np.random.RandomState(5)
    covered = wrong = 0
    for _ in range(SIMULATIONS):
        [verdict] = judge(plan, made(plan, 0.0, random, run_sd, fold_sd=fold_sd * (folds > 1)))
        low, high = verdict.gain.interval(0.95)
        covered += low <= 0 <= high
        wrong += verdict.outcome != "not decided"
    assert wrong <= 0.06 * SIMULATIONS + 2 * math.sqrt(SIMULATIONS * 0.06 * 0.94)
    assert covered >= 0.93 * SIMULATIONS - 2 * math.sqrt(SIMULATIONS * 0.93 * 0.07)


@pytest.mark.parametrize("folds", [5, pytest.param(10, marks=pytest.mark.long)])
def test_a_gain_of_exactly_the_margin_is_seldom_called_equivalent(folds):
    arms = with_all(study(), "data", folds=folds).arms
    plan = study(hypotheses=[EQUIVALENT], folds=range(folds), run_seeds=[0], arms=arms)
    random = np.random.RandomState(7)
    words = [judge(plan, made(plan, plan.margin, random, fold_sd=0.001))[0].outcome for _ in range(SIMULATIONS)]
    wrong = words.count("equivalent")
    assert 0 < wrong <= 0.05 * SIMULATIONS + 2 * math.sqrt(SIMULATIONS * 0.05 * 0.95)
