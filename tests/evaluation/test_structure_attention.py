import json
import shutil
import tracemalloc

import numpy as np
import pytest

from attention_unet.cli import main
from attention_unet.errors import DataError
from attention_unet.evaluation.structure_attention import (
    StructureAttention,
    attention_in_structures,
    attention_to_csv,
    mark_unpredicted,
    mean_attention,
    read_attention,
)
from attention_unet.scans.labels import Labels
from tests.conftest import save_nifti

LABELS = Labels({"a": (1,), "b": (2, 3)}, (1, 2))


def case(seed=0):
    random = np.random.default_rng(seed)
    return random.random((9, 8, 7)).astype(np.float32), random.integers(0, 4, (9, 8, 7))


def test_means_and_auc_are_those_of_all_pairs_of_voxels():
    weights, reference = case()
    weights = np.round(weights, 1)  # many ties
    found = attention_in_structures("x", "skip 1", weights, reference, LABELS)
    assert [(one.case, one.class_name, one.place) for one in found] == [("x", "a", "skip 1"), ("x", "b", "skip 1")]
    assert attention_in_structures("x", "skip 1", weights, reference, LABELS, unannotated=["a"]) == found[1:]
    none = weights[reference == 0]
    for one, values in zip(found, ((1,), (2, 3)), strict=True):
        inside = weights[np.isin(reference, values)]
        pairs = inside[:, None] - none[None]
        assert one.auc == pytest.approx(((pairs > 0) + 0.5 * (pairs == 0)).mean(), abs=1e-9)
        assert (one.inside, one.outside) == (pytest.approx(inside.mean()), pytest.approx(none.mean()))


@pytest.mark.parametrize(("weights", "auc"), [([0.2, 0.2, 0.9, 0.9], 1), ([0.9, 0.9, 0.2, 0.2], 0), ([0.5] * 4, 0.5)])
def test_auc_tells_apart_and_which_way(weights, auc):
    reference = np.array([0, 0, 1, 1]).reshape(4, 1, 1)
    (one, absent) = attention_in_structures(
        "x", 0, np.array(weights, dtype=np.float32).reshape(4, 1, 1), reference, LABELS
    )
    assert one.auc == auc
    assert np.isnan(absent.auc)
    assert mean_attention([one, absent]) == {(0, "a"): {"inside": one.inside, "outside": one.outside, "auc": auc}}


def test_weights_above_one_are_told_apart_too():
    weights = np.array([1.5, 1.6, 3.0, 3.1], dtype=np.float32).reshape(4, 1, 1)
    assert attention_in_structures("x", 0, weights, np.array([0, 1, 0, 1]).reshape(4, 1, 1), LABELS)[0].auc == 0.75


def test_voxels_without_a_window_do_not_count():
    weights, reference = case()
    weights[0] = 0
    found = attention_in_structures("x", 0, mark_unpredicted(weights), reference, LABELS)
    assert found == attention_in_structures("x", 0, weights[1:], reference[1:], LABELS)


def test_evaluate_tells_where_attention_lies(tmp_path, capsys):
    weights, reference = case()
    for name in ("x", "y"):
        save_nifti(tmp_path / "r" / f"{name}.nii.gz", reference.astype(np.uint8))
        save_nifti(tmp_path / "p" / f"{name}.nii.gz", reference.astype(np.uint8))
    (tmp_path / "p" / "run.json").write_text(json.dumps({"labels": LABELS.to_json()}))
    call = ["evaluate", "-p", str(tmp_path / "p"), "-r", str(tmp_path / "r"), "-o", str(tmp_path / "e")]
    save_nifti(tmp_path / "p" / "attention" / "x_skip1.nii.gz", weights)
    save_nifti(tmp_path / "p" / "attention" / "y_skip0.nii.gz", weights)  # of no use alone
    save_nifti(tmp_path / "p" / "attention" / "y_skip1.nii.gz", weights, np.diag([2.0, 1.0, 1.0, 1.0]))
    capsys.readouterr()
    assert main(call) == 1
    err = capsys.readouterr().err
    expected = attention_in_structures("x", "skip 1", weights, reference, LABELS)
    a = expected[0]
    assert f"attention, skip 1, a: {a.inside:.2f} inside, {a.outside:.2f} outside, AUC {a.auc:.3f}" in err
    assert "failed: y: " in err
    read = read_attention(tmp_path / "e" / "attention.csv")
    assert [(one.case, one.class_name) for one in read] == [("x", "a"), ("x", "b")]
    assert read[0].auc == pytest.approx(a.auc, rel=1e-5)
    shutil.rmtree(tmp_path / "p" / "attention")
    assert main(call) == 0
    assert not (tmp_path / "e" / "attention.csv").exists(), "it is of the earlier evaluation"


def test_the_table_is_read_as_it_was_written(tmp_path):
    rows = [StructureAttention("x, y", "a", "skip 2", 0.5, 0.25, 1.0)]
    (tmp_path / "a.csv").write_text(attention_to_csv(rows))
    assert read_attention(tmp_path / "a.csv") == rows
    assert read_attention(tmp_path / "none.csv") == []
    (tmp_path / "a.csv").write_text("case\nx\n")
    with pytest.raises(DataError, match="not a table of attention"):
        read_attention(tmp_path / "a.csv")


def test_many_classes_need_little_memory():
    labels = Labels({f"c{value}": (value,) for value in range(1, 61)}, tuple(range(1, 61)))
    weights, reference = np.ones((100, 100, 50), np.float32), np.zeros((100, 100, 50), np.uint8)
    reference[:60, 0, 0] = range(1, 61)
    tracemalloc.start()
    try:
        assert len(attention_in_structures("x", "skip 1", weights, reference, labels)) == 60
        assert tracemalloc.get_traced_memory()[1] < 40 * weights.size  # 120 bytes more with a mask of each class
    finally:
        tracemalloc.stop()
