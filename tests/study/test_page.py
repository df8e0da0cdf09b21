"""The page of a study in a real browser."""

import dataclasses
import json
import math

import pytest

from attention_unet.report.page import STUDY, build_page
from attention_unet.study.costs import Cost
from attention_unet.study.finished import CellRecord
from attention_unet.study.hypothesis import Hypothesis
from attention_unet.study.page import describe_study
from attention_unet.study.registration import Amendment, Registration
from attention_unet.study.scores import Score
from attention_unet.study.verdicts import judge
from tests.inference.build import plan_of
from tests.report.browse import open_page
from tests.study.build import BETTER, EQUIVALENT, made, study
from tests.training.build import with_section

NAME = "Does <b>it</b> help?"


def write(folder, results=None, costs=None, maps=None, plan=None):
    plan = plan or study(question=NAME, hypotheses=[BETTER, EQUIVALENT])
    results = made(plan) if results is None else results
    record = Registration(
        {}, "2026-11-25", plan_of().to_json(), [Amendment("today", 3, "ab12", ["margin: 0.1 to 0.005"], "a slip")]
    )
    records = {cell: CellRecord(cell, "", "", "", 30.0, {"torch": "2.13.0"}) for cell in results}
    file = folder / "study.html"
    facts = describe_study(plan, record, records, judge(plan, results), results, costs, maps or {})
    file.write_text(build_page(NAME, facts, {}, STUDY))
    return file


def test_settings_in_which_arms_differ_are_all_named(tmp_path):
    plan = study()
    other = with_section(plan.arms["gate"], "data", patch=[8, 8, 8])
    file = write(tmp_path, plan=dataclasses.replace(plan, arms={**plan.arms, "gate": other}))
    assert "16 x 16 x 8 voxels or 8 x 8 x 8 voxels" in file.read_text()


def test_a_structure_that_most_predictions_miss_has_an_infinite_distance(tmp_path):
    plan = study()
    lost = {cell: [dataclasses.replace(score, hd95_mm=math.inf) for score in of] for cell, of in made(plan).items()}
    records = {cell: CellRecord(cell, "", "", "", 30.0, {}) for cell in lost}
    record = Registration({}, "2026-11-25", plan_of().to_json(), [])
    facts = describe_study(plan, record, records, judge(plan, lost), lost, None, {})
    assert [arm["hd95_mm"] for each in facts["classes"] for arm in each["metrics"]] == ["inf"] * 4
    json.dumps(facts, allow_nan=False)


@pytest.fixture
def opened(browser, tmp_path):
    costs = {
        "none": Cost("none", "", 1000, 2 * 10**9, 0.1, 1, 1, 1),
        "gate": Cost("gate", "", 1200, 3 * 10**9, 0.2, 2, 1.6, 2),
    }
    checks = {"gate": {"sentences": ["Maps differ."], "cases": [{"dice": {"as trained": 0.8, "removed": None}}]}}
    yield from open_page(browser, write(tmp_path, costs=costs, maps=checks), "section")


def test_every_part_is_shown(opened):
    assert opened.locator("h1").inner_text() == NAME
    headings = ["Verdicts", "Gains", "Gain at equal time", "Learning curves", "By structure", "Attention maps"]
    assert opened.locator("h2").all_inner_texts() == [*headings, "Where gains vary", "Trainings"]
    sentences = opened.locator("#sentences li").all_inner_texts()
    # Equal in all trainings: not believed.
    assert sentences[0].startswith("Not decided whether gate is better than none: +0.0200")
    text = opened.locator("#verdicts").inner_text()
    assert "Recorded on 2026-11-25, sha256 ab12." in text
    assert "Amended on today, after 3 trainings (margin: 0.1 to 0.005): a slip (sha256 since: " in text
    assert "trained with: torch 2.13.0 · hours of training: 4.0 · steps: 4" in text
    assert "patch: 16 x 16 x 8 voxels" in text
    assert "Maps differ." in opened.locator("#maps").inner_text()
    assert opened.locator("#gains circle.pair").count() == 2 * 4  # two claims, four pairs of trainings
    assert opened.locator("#gains rect.margin").count() == 1


def test_curves_are_drawn_over_steps_minutes_and_operations(opened):
    def ticks():
        return opened.locator("#curves text.name").first.text_content()

    assert ticks() == "steps"
    opened.locator("#curves select").select_option("minutes")
    assert ticks() == "minutes"
    opened.locator("#curves select").select_option("operations")
    assert ticks().startswith("operations")
    assert opened.locator("#curves polyline").count() == 2


def test_figures_are_those_of_the_study(opened):
    rows = [row.split("\t") for row in opened.locator("#cost-table tbody tr").all_inner_texts()]
    assert [row[:5] for row in rows] == [
        ["none", "1,000", "2.00", "100", "1.00"],
        ["gate", "1,200", "3.00", "200", "2.00"],
    ]
    assert rows[1][5] == "\N{MINUS SIGN}0.1800"  # half the steps, and a gain of 0.02
    assert rows[1][7] == "\N{MINUS SIGN}0.1800 to \N{MINUS SIGN}0.1300"  # at 1.6 times: step 250
    told = "changes by more than the margin, or is unknown for some. Measure again"
    assert told in opened.locator("#costs").inner_text()
    block, dot = (
        row.split("\t")[1].split("\n")[0] for row in opened.locator("#class-table tbody tr").all_inner_texts()
    )
    assert (block, dot) == ("+0.0400", "0.0000")
    assert opened.locator("#cell-table tbody tr").count() == 8
    metrics = [row.split("\t") for row in opened.locator("#metric-table tbody tr").all_inner_texts()]
    assert [row[:4] for row in metrics] == [["none", "0.5000", "1.0000", "0.00"], ["gate", "0.5400", "1.0000", "0.00"]]
    opened.locator("#structures select").select_option("dot")
    assert opened.locator("#metric-table tbody tr").last.inner_text().split("\t")[:2] == ["gate", "0.5000"]


def test_arms_named_by_numbers_keep_their_order(browser, tmp_path):
    """Objects in JavaScript put such names first, so columns must not follow the order of an object."""
    plan = study(question=NAME)
    gate = plan.arms["gate"]
    arms = {"none": plan.arms["none"], "20": gate, "3": with_section(gate, "network", base_channels=5)}
    plan = study(arms=arms, seeds={name: [0, 1] for name in arms}, hypotheses=[Hypothesis("20", "none", "better")])
    gains = {"none": 0.0, "20": 0.2, "3": 0.3}
    results = {
        cell: [Score("prediction", 4, case, case, "dot", 0.5 + gains[cell.arm], 1, 0, 2) for case in "ab"]
        for cell in plan.cells()
    }
    for page in open_page(browser, write(tmp_path, results, plan=plan), "section"):
        heads = page.locator("#class-table thead th").all_inner_texts()
        first = page.locator("#class-table tbody tr").first.inner_text().split("\t")
        assert dict(zip(heads, (cell.split("\n")[0] for cell in first), strict=True)) == {
            "Structure": "dot",
            "20": "+0.2000",
            "3": "+0.3000",
        }
        found = page.locator("#metric-table tbody tr").all_inner_texts()
        assert [row.split("\t")[:2] for row in found] == [["none", "0.5000"], ["20", "0.7000"], ["3", "0.8000"]]


def test_a_claim_about_the_first_arm_is_drawn(browser, tmp_path):
    plan = study(question=NAME, hypotheses=[Hypothesis("none", "gate", "better")])
    for page in open_page(browser, write(tmp_path, plan=plan), "section"):
        names = page.locator("#gains text.name").all_text_contents()
        assert names[1:] == ["none against gate", "gate against none"]


def test_a_study_without_results_has_a_page(browser, tmp_path):
    for page in open_page(browser, write(tmp_path, results={}), "section"):
        assert "0 of 8 trainings are finished" in page.locator("#verdicts").inner_text()
        assert "run the study with --plan" in page.locator("#costs").inner_text()
        assert "no result" in page.locator("#gains").inner_text()


@pytest.mark.parametrize("width", [390, 1200])
def test_it_fits_a_narrow_window(browser, tmp_path, width):
    for page in open_page(browser, write(tmp_path), "section"):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") == width
