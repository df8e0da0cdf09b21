"""A report opened in a browser."""

import json

import numpy as np
import pytest

from attention_unet.evaluation.calibration import calibration_to_csv
from attention_unet.explanation.findings import summarise_findings
from attention_unet.report.report import write_report
from tests.explanation.build import checks
from tests.report.browse import open_page
from tests.report.build import build_evaluation


@pytest.fixture(scope="module")
def report(run, tmp_path_factory):
    """Write a report with all parts."""
    folder = tmp_path_factory.mktemp("report")
    evaluation = build_evaluation(folder)
    bins = np.array([[10.0, 30.0], [1.0, 24.0], [2.0, 27.0]])  # voxels, sums of probability, true voxels
    (evaluation / "calibration.csv").write_text(calibration_to_csv({"block": bins}))
    (evaluation / "explanation.json").write_text(json.dumps(summarise_findings(checks(), "sha")))
    record = json.loads((folder / "p" / "run.json").read_text()) | {"models_sha256": ["sha"]}
    (folder / "p" / "run.json").write_text(json.dumps(record))
    failed = write_report(folder / "report.html", "title & <i>", evaluation, [run], 40, lambda: None)
    assert failed == {}
    return folder / "report.html"


@pytest.fixture
def opened(browser, report):
    yield from open_page(browser, report)
