"""The table of cases: written, read, and read as other programs write it."""

from math import inf

import numpy as np
import pytest

from attention_unet.errors import DataError
from attention_unet.evaluation.metrics import METRICS, CaseMetrics
from attention_unet.evaluation.rows import Row, metrics_to_csv, read_metrics
from tests.evaluation.build import metrics


def test_the_table_of_cases_is_read_as_it_was_written(tmp_path):
    rows = [Row("x", "a", CaseMetrics(*range(len(METRICS))), "head1", "2")]
    rows.append(Row('y, "b"', "c", CaseMetrics(*[inf] * len(METRICS))))
    (tmp_path / "metrics.csv").write_text(metrics_to_csv(rows))
    assert read_metrics(tmp_path / "metrics.csv") == rows
    empty = metrics_to_csv([Row("z", "a", metrics(dice=0.5))]).replace("nan", "")  # as pandas writes it
    (tmp_path / "metrics.csv").write_text(empty)
    (row,) = read_metrics(tmp_path / "metrics.csv")
    assert (row.metrics.dice, np.isnan(row.metrics.nsd)) == (0.5, True)
    (tmp_path / "metrics.csv").write_text(metrics_to_csv([*rows, rows[0]]))
    with pytest.raises(DataError, match=r"metrics\.csv: case x, class a appears twice"):
        read_metrics(tmp_path / "metrics.csv")
