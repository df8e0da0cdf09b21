"""Comparisons in which a metric is undefined or infinite in some cases."""

from dataclasses import replace
from math import inf, nan

import numpy as np
import pytest

from attention_unet.errors import DataError
from attention_unet.evaluation.compare import compare as compare_models
from attention_unet.evaluation.rows import Row
from tests.evaluation.build import compare, levels, metrics, noise, rows


def test_a_structure_that_is_rightly_not_predicted_counts_as_perfect():
    """Nothing is there: the metric is undefined for the model that predicts nothing, and 0 for the other."""
    one = {"A": rows([0.5, 0.6, nan, 0.0, nan]), "B": rows([0.6, 0.7, 0.0, nan, nan])}
    (found,) = compare(one, "dice")
    assert found.gains == pytest.approx([0.1, 0.1, -1, 1])
    assert (found.undefined, found.test.gain) == (0, pytest.approx(0.05))
    (found,) = compare({"A": rows([2, nan], "hd95_mm"), "B": rows([2, inf], "hd95_mm")}, "hd95_mm")
    assert found.gains == (0, -inf)


def test_a_class_that_a_case_does_not_annotate_is_left_out():
    """In one evaluation it was not known: the class counted as wrongly predicted."""
    before, after = rows([0.5, 0.6, 0.7, 0.0]), rows([0.6, 0.7, 0.8, nan])
    after[3] = replace(after[3], metrics=replace(after[3].metrics, reference_volume_ml=nan))
    (found,) = compare({"A": before, "B": after}, "dice")
    assert found.gains == pytest.approx((0.1, 0.1, 0.1))
    assert found.undefined == 0


def test_tables_without_volumes_are_compared():
    """Those of other tools: it is not known what they annotate."""
    other = [replace(row, metrics=metrics(dice=0.5, reference_volume_ml=nan)) for row in rows([0.5, 0.5])]
    (found,) = compare({"A": other, "B": rows([0.6, 0.8])}, "dice")
    assert found.gains == pytest.approx((0.1, 0.3))


def test_a_value_that_another_tool_left_out_is_no_perfect_one():
    """Its tables have no volumes. The case may be missed, or forgotten."""
    other = [replace(row, metrics=replace(row.metrics, reference_volume_ml=nan)) for row in rows([0.9] * 11 + [nan])]
    for left_out in (other, other[:-1] + [replace(other[-1], case="case11")]):
        (found,) = compare({"A": rows([0.9] * 11 + [0.1]), "B": left_out}, "dice")
        assert found.undefined == 1
        assert str(found).startswith("no verdict on B and A in dice on a: the difference is undefined in 1 case")


def test_a_table_that_lacks_the_metric_is_refused():
    other = [Row(row.case, row.class_name, metrics(dice=0.9)) for row in rows([0.9] * 12)]
    with pytest.raises(DataError, match="other: its table has no nsd: evaluate again"):
        compare({"ours": rows([0.9] * 12, "nsd"), "other": other}, "nsd")


def test_no_verdict_rests_on_cases_that_were_dropped():
    better = {"A": rows([0.5] * 12, "precision"), "B": rows([0.9] * 11 + [nan], "precision")}
    (found,) = compare(better, "precision")
    assert found.undefined == 1
    assert not found.significant
    assert str(found).startswith("no verdict on B and A in precision on a: the difference is undefined in 1 case; ")


def test_a_model_that_misses_the_structure_is_worse():
    base = 2 + levels(n=12)
    new = base - 0.5 + noise(12)
    new[:7] = inf
    (found,) = compare({"base": rows(base, "hd95_mm"), "new": rows(new, "hd95_mm")}, "hd95_mm")
    assert found.gains.count(-inf) == 7
    assert str(found).startswith(
        "no significant difference between new and base in hd95 on a; new is better in 5 and worse in 7 cases; only "
        "one model misses or invents the structure: new in 7, base in 0, n = 12"
    )
    new[:] = inf
    (found,) = compare({"base": rows(base, "hd95_mm"), "new": rows(new, "hd95_mm")}, "hd95_mm")
    assert str(found).startswith("new is worse than base in hd95 on a; new is better in 0 and worse in 12 cases")
    assert found.test.p == pytest.approx(0.5**11)
    (both,) = compare({"base": rows(new, "hd95_mm"), "new": rows(new, "hd95_mm")}, "hd95_mm")
    assert str(both).startswith("new and base are equal in hd95 on a")


def test_models_that_miss_different_structures_of_a_case_have_no_mean_there():
    """Both means over the classes are infinite."""

    def model(a, b):
        return [*rows(a, "hd95_mm"), *rows(b, "hd95_mm", class_name="b")]

    found, *_ = compare({"A": model([2, 2], [inf, 2]), "B": model([inf, 1], [2, 2])}, "hd95_mm")
    assert (found.class_name, found.gains, found.undefined) == ("mean of classes", (0.5,), 1)
    better = model([inf, *[2] * 20], [*[2] * 20, inf]), model([*[2] * 20, inf], [inf, *[1] * 20])
    found, *_ = compare(dict(zip("AB", better, strict=True)), "hd95_mm")
    assert found.p_holm < 0.001
    assert str(found).startswith("no verdict on B and A in hd95 on mean of classes: the difference is undefined in 2 c")


@pytest.mark.parametrize("sign", [1, -1])
def test_a_verdict_is_for_the_side_of_the_ranks(sign):
    """New is a little better in 16 cases, but misses the structure in 15."""
    base, new = np.full(31, 5.0), 5 - np.linspace(0.01, 0.16, 31)
    new[16:] = inf
    models = {"base": rows(base, "hd95_mm"), "new": rows(new, "hd95_mm")}
    (found,) = compare(dict(sorted(models.items(), reverse=sign < 0)), "hd95_mm")
    assert found.significant
    assert str(found).startswith("new is worse than base" if sign > 0 else "base is better than new")


def test_a_structure_that_one_run_invents_counts_against_this_run_alone():
    others = [0.7, 0.8, 0.75, 0.82, 0.66, 0.71]
    a = [rows([*others, nan])] * 3
    b = [rows([*others, nan]), rows([*others, 0.0]), rows([*others, nan])]
    (found,) = compare_models({"A": a, "B": b}, "dice")
    assert found.gains[-1] == pytest.approx(-1 / 3)
    assert np.isfinite(found.test.gain)


def test_no_verdict_on_a_mean_of_which_a_class_is_undefined_for_one_model():
    first = [*rows([0.5] * 12, "precision"), *rows([0.5] * 12, "precision", "b")]
    second = [*rows([0.9] * 12, "precision"), *rows([0.9] * 11 + [nan], "precision", "b")]
    mean, a, b = compare({"A": first, "B": second}, "precision")
    assert (mean.undefined, a.undefined, b.undefined) == (1, 0, 1)
    assert (mean.significant, a.significant) == (False, True)
    assert str(mean).startswith("no verdict")
