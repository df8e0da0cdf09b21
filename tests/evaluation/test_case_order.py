"""How well masks are ordered without a reference."""

import json
import logging

import numpy as np
import pytest
from scipy.stats import spearmanr

from attention_unet.evaluation.case_order import measure_order
from attention_unet.evaluation.evaluate import evaluate_folder
from tests.conftest import save_nifti


def test_two_orders_are_compared():
    random = np.random.RandomState(0)
    true = random.uniform(size=23).round(1)  # with ties
    expected = (true + random.normal(scale=0.2, size=23)).round(1)
    correlation, worst, _ = measure_order(expected, true)
    assert correlation == pytest.approx(spearmanr(expected, true).statistic)
    assert worst == 5
    assert measure_order(range(10), [1, 5, 0, *range(10, 17)])[2] == 1
    assert measure_order(range(10), range(10))[2] == 2


def test_evaluate_tells_how_many_of_the_worst_masks_come_first(tmp_path, caplog):
    expected = [0.9, 0.8, 0.1, 0.7, 0.2, 0.6, 0.5, 0.4, 0.3, 0.95]
    for number, value in enumerate(expected):
        reference = np.zeros((10, 10, 10), np.uint8)
        reference[:8] = 1
        mask = reference.copy()
        mask[: 5 if number in (2, 0) else 1, 0, : 10 - number] = 0  # cases 0 and 2 are the worst
        for folder, label_map in (("r", reference), ("p", mask)):
            save_nifti(tmp_path / folder / f"{number}.nii.gz", label_map, np.eye(4))
        described = {"name": "a", "volume_ml": 1, "mean": 1, "sd": 1, "components": 1, "touches_edge": True}
        (tmp_path / "p" / f"{number}_labels.json").write_text(
            json.dumps({"labels": {"1": {**described, "expected_dice": value}}})
        )
    with caplog.at_level(logging.INFO, "attention_unet"):
        evaluate_folder(tmp_path / "p", tmp_path / "r", tmp_path / "e")
    assert "orders these 10 cases" in caplog.text
    assert "1 of the 2 worst masks are among the first 2 of volumes.csv (0.4 by chance)" in caplog.text
    file = tmp_path / "p" / "0_labels.json"
    known = json.loads(file.read_text())["labels"]["1"]
    for foreign in (
        "[1]",
        '{"labels": {"1": "a"}}',
        *(json.dumps({"labels": {"1": {**known, "expected_dice": value}}}) for value in ("x", 7, True, [1])),
    ):
        file.write_text(foreign)
        caplog.clear()
        with caplog.at_level(logging.INFO, "attention_unet"):
            evaluate_folder(tmp_path / "p", tmp_path / "r", tmp_path / "e")
        assert "left out of the order of masks" in caplog.text
        assert "orders these" not in caplog.text
