"""The page of a study in a real browser."""

import pytest

from attention_unet.report.page import STUDY, build_page
from attention_unet.study.costs import Cost
from attention_unet.study.page import describe_study
from attention_unet.study.registration import Registration
from attention_unet.study.verdicts import judge
from tests.report.browse import open_page
from tests.study.build import BETTER, EQUIVALENT, study
from tests.study.test_exploration import made

NAME = "Does <b>it</b> help?"


def write(folder, results=None, costs=None, maps=None):
    plan = study(question=NAME, hypotheses=[BETTER, EQUIVALENT])
    results = made(plan) if results is None else results
    record = Registration({}, "ab12", "2026-11-25", None, [{"date": "today", "changed": "margin", "reason": "a slip"}])
    file = folder / "study.html"
    facts = describe_study(plan, record, judge(plan, results), results, costs, maps or {})
    file.write_text(build_page("page", facts, {}, STUDY))
    return file


@pytest.fixture
def opened(browser, tmp_path):
    costs = {"none": Cost("none", 1000, 2 * 10**9, 0.1), "gate": Cost("gate", 1200, 3 * 10**9, 0.2)}
    checks = {"gate": {"sentences": ["Maps differ."], "cases": [{"dice": {"as trained": 0.8, "removed": None}}]}}
    yield from open_page(browser, write(tmp_path, costs=costs, maps=checks), "section")


def test_every_part_is_shown(opened):
    assert opened.locator("h1").inner_text() == NAME
    headings = ["Verdicts", "Gains", "Gain at equal time", "Learning curves", "By structure", "Attention maps"]
    assert opened.locator("h2").all_inner_texts() == [*headings, "Where gains vary", "Trainings"]
    sentences = opened.locator("#sentences li").all_inner_texts()
    assert sentences[0].startswith("gate against none: not decided: +0.0200")  # equal in all trainings: not believed
    assert "sha256 ab12" in opened.locator("#verdicts").inner_text()
    assert "Amended today (margin): a slip" in opened.locator("#verdicts").inner_text()
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
    assert [row[:4] for row in rows] == [["none", "1,000", "2.00", "100"], ["gate", "1,200", "3.00", "200"]]
    assert rows[1][4] == "\N{MINUS SIGN}0.1800"  # half the steps, and a gain of 0.02
    block, dot = (
        row.split("\t")[1].split("\n")[0] for row in opened.locator("#class-table tbody tr").all_inner_texts()
    )
    assert (block, dot) == ("+0.0400", "0.0000")
    assert opened.locator("#cell-table tbody tr").count() == 8


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
