"""The report in a real browser."""

import json

import numpy as np
import pytest
from playwright.sync_api import expect

from attention_unet.evaluation.structure_attention import mean_attention, read_attention
from attention_unet.explanation.findings import summarise_findings
from attention_unet.report.report import write_report
from tests.conftest import read_csv
from tests.explanation.build import checks
from tests.report.browse import open_page
from tests.report.build import HOSTILE, STORED, build_evaluation


def test_worst_cases_come_first_and_columns_sort(opened):
    first = opened.locator("#case-table tbody th").first
    assert opened.locator("#case").input_value() == HOSTILE
    assert opened.locator("#case-scores").inner_text().startswith(HOSTILE)
    assert first.inner_text() == HOSTILE
    opened.locator("#case-table thead button").nth(1).click()
    assert first.inner_text() == "turned"
    assert opened.locator("#case-table th[aria-sort=descending]").count() == 1
    opened.locator("#case-table thead button").first.click()
    assert opened.locator("#case-table tbody th").all_inner_texts() == [HOSTILE, "plain", "turned"]
    opened.select_option("#table-metric", "hd95_mm")
    assert "HD95 mm, block" in opened.locator("#case-table thead").inner_text()
    opened.locator("#case-table thead button").nth(2).click()
    distances = [float(text) for text in opened.locator("#case-table tbody td:nth-child(3)").all_inner_texts()]
    assert distances == sorted(distances, reverse=True) != sorted(distances)


def test_figures_are_those_of_the_evaluation(opened, report):
    found = read_csv(report.parent / "e" / "metrics.csv")
    rows = {(row["case"], row["class"]): float(row["dice"]) for row in found}
    cells = opened.locator("#case-table tbody tr", has_text="plain").locator("td").all_inner_texts()
    of_classes = [rows["plain", "block"], rows["plain", "<b>bold</b>"]]
    expected = [np.mean(of_classes), *of_classes, rows["plain", "(foreground)"]]
    assert cells == [f"{value:.3f}" for value in expected]
    mean = np.mean([rows[case, "block"] for case in STORED])
    assert opened.locator("#summary-table tbody td").first.inner_text().startswith(f"{mean:.3f}\n± ")


def test_attention_calibration_and_training_are_shown(opened, report):
    rows = [row.split("\t") for row in opened.locator("#attention-table tbody tr").all_inner_texts()]
    means = mean_attention(read_attention(report.parent / "e" / "attention.csv"))
    assert rows == [[place, name, *(f"{value:.3f}" for value in of.values())] for (place, name), of in means.items()]
    assert opened.locator("#findings li").all_inner_texts() == summarise_findings(checks(), "sha")["sentences"]
    assert opened.locator("#explanation circle.dot").count() == 6 * 7
    assert "block 0.1000, 0.1000." in opened.locator("#calibration").inner_text()
    assert opened.locator("#training polyline").count() == 1 + 3
    text = opened.locator("#setup").inner_text()
    for words in ("24 \N{MULTIPLICATION SIGN} 24 \N{MULTIPLICATION SIGN} 12", "Ventricle", "gate", "Training cases\t6"):
        assert words in text
    opened.locator("#setup details details summary", has_text="Configuration").click()
    assert "foreground_share: 0.6" in opened.locator("#setup pre").first.inner_text()
    headings = opened.locator("nav a").all_inner_texts()
    assert len(headings) == opened.locator("section").count() == 9


def test_no_other_script_runs(browser, report):
    page = browser.new_page()
    page.goto(report.as_uri())
    page.evaluate(
        "document.body.append(Object.assign(document.createElement('script'), {text: 'window.stranger = 1'}))"
    )
    assert page.evaluate("window.stranger") is None
    page.close()


def test_names_of_files_and_classes_are_no_markup(opened):
    assert opened.locator("h1").inner_text() == "title & <i>"
    assert opened.locator("img, b, i").count() == 0
    assert "<b>bold</b>" in opened.locator("#summary-table").inner_text()


def test_a_dot_of_the_spread_opens_its_case(opened):
    opened.locator("circle.dot:has(title:has-text('turned'))").first.dispatch_event("click")
    expect(opened.locator("#case")).to_have_value("turned")


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_window(browser, report, width):
    pages = open_page(browser, report)
    page = next(pages)
    page.set_viewport_size({"width": width, "height": 900})
    page.evaluate(
        "() => { document.querySelector('#case').options[0].textContent = 'a long name of a case '.repeat(9); }"
    )
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")  # planes drawn
    assert page.evaluate("() => document.documentElement.scrollWidth") == width
    assert next(pages, None) is None


def test_a_part_that_cannot_be_drawn_takes_no_other_with_it(browser, tmp_path):
    evaluation = build_evaluation(tmp_path, ["plain"])
    explanation = summarise_findings(checks(), "sha") | {"cases": 3}
    (evaluation / "explanation.json").write_text(json.dumps(explanation))
    record = json.loads((tmp_path / "p" / "run.json").read_text()) | {"models_sha256": ["sha"]}
    (tmp_path / "p" / "run.json").write_text(json.dumps(record))
    write_report(tmp_path / "page.html", "title", evaluation, [], 40, lambda: None)
    pages = open_page(browser, tmp_path / "page.html")
    page = next(pages)
    assert "A part of this page cannot be drawn" in page.locator("main > .warning").inner_text()
    assert page.locator("#viewer, #cases, #distribution").count() == 3
    assert next(pages, None) is None


def test_light_and_dark(browser, report):
    grounds = []
    for scheme in ("light", "dark"):
        pages = open_page(browser, report, color_scheme=scheme)
        grounds.append(next(pages).evaluate("() => getComputedStyle(document.body).backgroundColor"))
        assert next(pages, None) is None
    light, dark = (sum(int(n) for n in ground[4:-1].split(",")) for ground in grounds)
    assert light > 600 > 200 > dark


def test_it_prints_without_controls(opened):
    opened.emulate_media(media="print")
    assert not opened.locator("#show-reference").is_visible()
    assert opened.locator("canvas.plane").first.is_visible()
    assert len(opened.pdf()) > 10_000
