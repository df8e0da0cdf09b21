"""Two models on the same cases, with a known true difference."""

from dataclasses import replace
from math import inf, nan

import numpy as np
import pytest
from scipy.stats import PermutationMethod, t, wilcoxon

from attention_unet.errors import ConfigError, DataError
from attention_unet.evaluation.compare import compare as compare_models
from attention_unet.evaluation.rows import Row
from attention_unet.evaluation.significance import holm
from attention_unet.scans.labels import FOREGROUND
from tests.evaluation.build import compare, levels, metrics, noise, rows


def test_a_small_gain_is_found_among_cases_that_differ_much():
    base = levels()
    (found,) = compare({"A": rows(base), "B": rows(base + 0.004 + noise())}, "dice")
    assert found.test.gain == pytest.approx(0.004 + noise().mean(), abs=1e-9)
    low, high = found.test.ci95
    assert low < 0.004 < high
    assert high - low == pytest.approx(2 * t.ppf(0.975, 41) * np.std(noise(), ddof=1) / np.sqrt(42), abs=1e-8)
    assert found.significant
    assert str(found).startswith(
        f"B is better than A in dice on a by {found.test.gain:.4f}, 95% interval {low:.4f} to {high:.4f}, n = 42"
    )
    (back,) = compare({"B": rows(base + 0.004 + noise()), "A": rows(base)}, "dice")
    assert str(back).startswith(
        f"A is worse than B in dice on a by {found.test.gain:.4f}, 95% interval {low:.4f} to {high:.4f}, n = 42"
    )


def test_chance_is_not_taken_for_a_difference():
    """About five of a hundred comparisons of equal models are wrong at the level of 5 %, without correction."""
    wrong = 0
    for seed in range(100):
        both = [levels(seed) + np.random.RandomState(1000 + 2 * seed + i).normal(0, 0.01, 42) for i in range(2)]
        (found,) = compare({"A": rows(both[0]), "B": rows(both[1])}, "dice")
        wrong += found.significant
    assert 1 <= wrong <= 10
    (same,) = compare({"A": rows(levels()), "B": rows(levels() + noise())}, "dice")
    assert "no significant difference between B and A in dice on a" in str(same)


def test_lower_distances_are_better():
    base = 2 + levels()
    (found,) = compare({"A": rows(base, "hd95_mm"), "B": rows(base - 0.5 + noise(), "hd95_mm")}, "hd95_mm")
    assert str(found).startswith("B is better than A in hd95 on a by 0.50 mm")


def test_other_true_volumes_are_told(caplog):
    """The references were corrected between both evaluations, or a class has other integers."""
    after = [replace(row, metrics=replace(row.metrics, reference_volume_ml=1.00001)) for row in rows([0.5] * 3)]
    compare({"A": rows([0.5] * 3), "B": after}, "dice")
    assert not caplog.text
    after[1] = replace(after[1], metrics=replace(after[1].metrics, reference_volume_ml=1.1))
    compare({"A": rows([0.5] * 3), "B": after}, "dice")
    assert "other references or classes: in case01 the true volume of a is 1 ml and 1.1 ml" in caplog.text


def test_a_significant_difference_in_few_cases_is_one():
    """Holm corrects the last of several small p values least."""
    base, few = levels(n=40), [0.6] * 8 + [nan] * 32
    names = [f"c{i}" for i in range(10)]
    before, after = (
        [row for name in names for row in rows(base + gain, class_name=name)]
        + rows([value + 10 * gain for value in few], class_name="rare")
        for gain in (0.0, -0.02)
    )
    found = next(each for each in compare({"A": before, "B": after}, "dice") if each.class_name == "rare")
    assert found.significant
    assert str(found).startswith("B is worse than A in dice on rare by 0.2000")


@pytest.mark.parametrize("sign", [1, -1])
def test_no_verdict_if_mean_and_ranks_say_the_opposite(sign):
    """A few failures are rescued, and all other cases are a little worse."""
    base = levels(n=120)
    new = base - np.linspace(0.001, 0.003, 120)
    new[:20] = base[:20] + 0.1
    gain = (new - base).mean()
    models = {"base": rows(base), "new": rows(new)}
    (found,) = compare(dict(sorted(models.items(), reverse=sign < 0)), "dice")
    assert found.p_holm == pytest.approx(wilcoxon(np.round(new - base, 9)).pvalue)
    assert found.p_holm < 0.05
    assert not found.significant
    names = "new and base in dice on a: new is better in 20 and worse in 100 cases, against a gain of +"
    if sign < 0:
        names = "base and new in dice on a: base is better in 100 and worse in 20 cases, against a gain of -"
    assert str(found).startswith(f"no verdict on {names}{gain:.4f}, 95% interval ")


def test_tables_that_name_different_persons_are_refused():
    a, b = (
        [replace(row, subject=f"p{number // each}") for number, row in enumerate(rows(levels()))] for each in (2, 7)
    )
    with pytest.raises(DataError, match="case02: is of p1 in one table and of p0 in another"):
        compare({"A": a, "B": b}, "dice")
    (found,) = compare({"A": rows(levels() + noise()), "B": a}, "dice")  # one names them
    assert found.test.least_p == 0.5**20


def test_the_number_of_persons_stands_beside_that_of_cases():
    a, b = (
        [replace(row, subject=f"p{i // 5}") for i, row in enumerate(rows(levels(n=20) + gain))] for gain in (0, 0.1)
    )
    (found,) = compare({"A": a, "B": b}, "dice")
    assert str(found).startswith("too few persons for a verdict on B and A")
    assert str(found).endswith(", n = 20 cases of 4 persons, corrected p = 0.12")


def test_too_few_trainings_are_called_that():
    base = levels(n=40)
    (found,) = compare_models({"A": [rows(base)] * 2, "B": [rows(base + noise(40))] * 2}, "dice")
    assert str(found).startswith("too few trainings (expected two folds or three runs) or persons for a verdict")
    runs = [rows([*base[:-1], inf], "hd95_mm"), *[rows(base, "hd95_mm")] * 2]
    (found,) = compare_models({"A": [rows(base, "hd95_mm")] * 3, "B": runs}, "hd95_mm")
    assert str(found).startswith("no verdict on B and A in hd95 on a: a gain is infinite; try another metric")
    misses = [rows([*base[:-1], inf], "hd95_mm"), rows(base, "hd95_mm")]  # of opposite signs: no mean of the runs
    (found,) = compare_models({"A": misses, "B": misses[::-1]}, "hd95_mm")
    assert str(found).startswith("no verdict on B and A in hd95 on a: undefined or infinite in some runs; try another")


def test_every_class_their_mean_and_all_as_one():
    def model(a, b, together):
        return [*rows(a), *rows(b, class_name="b"), *rows(together, class_name=FOREGROUND)]

    found = compare(
        {"A": model([0.5] * 3, [0.7, nan, 0.9], [1] * 3), "B": model([0.6] * 3, [0.7, nan, 0.7], [1] * 3)}, "dice"
    )
    assert [one.class_name for one in found] == ["mean of classes", "a", "b", FOREGROUND]
    assert found[2].gains == pytest.approx([0.0, -0.2])
    assert found[0].gains == pytest.approx([0.05, 0.1, -0.05])  # over the classes that are in the case
    assert str(found[3]).startswith("B and A are equal in dice on (foreground), 95% interval 0.0000 to 0.0000, n = 3")


def test_p_values_are_corrected_for_their_number():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1, 1]
    base = levels()
    alone = compare({"A": rows(base), "B": rows(base + noise() + 0.0015)}, "dice")[0]
    others = {f"C{i}": rows(base + np.random.RandomState(i).normal(0, 0.01, 42)) for i in range(2, 6)}
    among = compare({"A": rows(base), "B": rows(base + noise() + 0.0015), **others}, "dice")[0]
    assert alone.test.p == alone.p_holm == among.test.p
    assert among.p_holm == pytest.approx(5 * alone.test.p)


def test_few_cases_are_not_taken_for_equal_models():
    """If six of six cases gain, chance alone does the same in 3 of 100 comparisons; for five of five, in 6."""
    base = levels(n=6)

    def sentence(cases, classes="a"):
        before, after = (
            [row for name in classes for row in rows(base[:cases] + gain, class_name=name)]
            for gain in (0, np.arange(1, cases + 1) * 0.01)
        )
        return str(compare({"A": before, "B": after}, "dice")[0])

    assert sentence(6).startswith("B is better than A in dice on a by 0.0350, 95% interval")
    assert sentence(5).startswith(
        "too few cases for a verdict on B and A in dice on a: a gain of +0.0300, 95% interval"
    )
    assert sentence(6, "ab").startswith("B is better than A in dice on mean of classes")  # a family of its own
    first = compare({"A": rows(base), "B": rows(base + 0.01), "C": rows(base + 0.02)}, "dice")[0]
    assert str(first).startswith("too f")
    (found,) = compare({"A": rows([0.5] * 9), "B": rows([0.5] * 4 + [0.6] * 5)}, "dice")
    assert str(found).startswith("too few cases differ for a verdict on B and A")  # five of nine
    told = "too few cases for a verdict on B and A in dice on a: a gain of +0.0100, n = 1, corrected p = 1"
    assert sentence(1) == told


def test_p_values_are_exact_where_gains_are_tied():
    gains = np.array([1.0] * 6 + [-1, 2, 0.5] + [0] * 26)
    (found,) = compare({"A": rows(np.full(35, 5.0), "hd95_mm"), "B": rows(5 - gains, "hd95_mm")}, "hd95_mm")
    exact = PermutationMethod(n_resamples=2**9)  # all combinations of the signs
    assert found.test.p == pytest.approx(wilcoxon(gains[gains != 0], method=exact).pvalue)


def test_the_mean_is_of_the_classes_that_are_compared(caplog):
    a, b, c = [0.5, 0.6], [0.7, 0.8], [0.1, 0.1]
    first = [*rows(a), *rows(b, class_name="b"), *rows(c, class_name="c"), *rows(c, class_name=FOREGROUND)]
    found = compare({"A": first, "B": [*rows(a), *rows(b, class_name="b"), *rows(b, class_name=FOREGROUND)]}, "dice")
    assert [one.class_name for one in found] == ["mean of classes", "a", "b"]
    assert all(one.gains == (0, 0) for one in found)
    assert "classes that some evaluations lack are left out: c" in caplog.text


def test_classes_that_cannot_be_compared_are_told(caplog):
    one = [*rows([0.5, 0.6]), *rows([0.5, 0.6], class_name="b"), *rows([nan, nan], class_name="c")]
    other = [*rows([0.5, 0.6]), *rows([nan, nan], class_name="c"), *rows([0.1, 0.1], class_name="d")]
    assert "a" in [found.class_name for found in compare({"A": one, "B": other}, "dice")]
    assert "classes that some evaluations lack are left out: b, d" in caplog.text
    assert "dice is defined for c in no case of both B and A" in caplog.text


def test_nothing_in_common():
    with pytest.raises(DataError, match="A, B: have no case in common"):
        compare({"A": rows([0.5]), "B": [Row("other", "a", metrics(dice=0.5))]}, "dice")
    with pytest.raises(DataError, match="A, B: have no class in common"):
        compare({"A": rows([0.5]), "B": rows([0.5], class_name="b")}, "dice")
    with pytest.raises(ConfigError, match="the metric is volume_ml: expected one of dice, hd95_mm, assd_mm, nsd"):
        compare({"A": rows([0.5]), "B": rows([0.5])}, "volume_ml")
    with pytest.raises(DataError, match="hd95_mm is defined for no case"):
        compare({"A": rows([0.5]), "B": rows([0.5])}, "hd95_mm")
