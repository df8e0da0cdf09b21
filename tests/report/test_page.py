"""The report in a real browser."""

import base64
import csv
import io
import json
import re
import shutil
from urllib.parse import urlparse

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from attention_unet.evaluation.calibration import calibration_to_csv
from attention_unet.evaluation.reliability import Reliability
from attention_unet.evaluation.structure_attention import mean_attention, read_attention
from attention_unet.explanation.findings import summarise_findings
from attention_unet.report.report import write_report
from tests.explanation.build import checks
from tests.report.build import GRID, HOSTILE, SPOT, STORED, build_evaluation

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
PICTURES = "() => [...document.querySelectorAll('canvas.plane')].map((canvas) => canvas.toDataURL()).join()"


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        own = playwright.chromium.executable_path
        found = next((path for name in (*BROWSERS, own) if (path := shutil.which(name))), None)
        if found is None:
            pytest.skip("no browser to look at the report with: install Chromium, or run 'playwright install chromium'")
        opened = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def report(run, tmp_path_factory):
    """Write a report with all parts."""
    folder = tmp_path_factory.mktemp("report")
    evaluation = build_evaluation(folder)
    bins = Reliability(np.array([10.0, 30.0]), np.array([0.1, 0.8]), np.array([0.2, 0.9]))
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


def open_page(browser, path, **context):
    """Open a page. It must raise no error, load nothing and show no dialog."""
    page = browser.new_page(viewport={"width": 1200, "height": 900}, **context)
    troubles = []
    page.on("console", lambda message: troubles.append(message.text))
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("dialog", lambda dialog: troubles.append(dialog.message))
    page.on("request", lambda request: urlparse(request.url).scheme in ("file", "data") or troubles.append(request.url))
    page.goto(path.as_uri())
    page.wait_for_selector("#show-reference")
    yield page
    assert troubles == []
    page.close()


def choose(page, case):
    page.select_option("#case", case)
    sync_api.expect(page.locator("#case-scores")).to_have_text(re.compile(f"^{re.escape(case)}: "))


def pixel(canvas, x, y):
    """Return the colour at shares of the width and the height."""
    content = base64.b64decode(canvas.evaluate("canvas => canvas.toDataURL()").split(",")[1])
    picture = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    return picture[int(y * picture.shape[0]), int(x * picture.shape[1])].tolist()


def facts(page):
    return dict(
        zip(page.locator("#readout dt").all_inner_texts(), page.locator("#readout dd").all_inner_texts(), strict=True)
    )


def spot_of(folder, case):
    """Return the bright voxel from nibabel: along RAS+ axes, in the file, and in mm."""
    image = nib.load(folder / "i" / f"{case}.nii.gz")
    canonical = np.argwhere(np.asarray(nib.as_closest_canonical(image).dataobj) == 200)[0]
    (own,) = np.argwhere(np.asarray(image.dataobj) == 200)
    return canonical, own, (image.affine @ (*own, 1))[:3]


@pytest.mark.parametrize("case", STORED)
def test_a_known_voxel_lies_where_it_should(opened, report, case):
    """Right, front and top of the patient are at the left and top of each plane, for every axis order of the file."""
    canonical, own, mm = spot_of(report.parent, case)
    np.testing.assert_array_equal(canonical, SPOT)
    choose(opened, case)
    for name in ("reference", "prediction", "crosshair"):
        opened.locator(f"#show-{name}").uncheck()
    for i, across in enumerate((2, 1, 0)):
        opened.locator(f"#slice-{i}").fill(str(canonical[across] + 1))
    for i, (h, v) in enumerate(((0, 1), (0, 2), (1, 2))):
        canvas = opened.locator("canvas.plane").nth(i)
        x, y = (1 - (canonical[axis] + 0.5) / GRID[axis] for axis in (h, v))
        assert pixel(canvas, x, y) == [255, 255, 255]
        assert max(pixel(canvas, x - 1 / GRID[h], y)) < 255
        box = canvas.bounding_box()
        spacing = (1.0, 1.5, 2.0)
        assert box["width"] / box["height"] == pytest.approx(
            GRID[h] * spacing[h] / (GRID[v] * spacing[v]), rel=0.02
        )  # millimetres, not voxels
    canvas.click(position={"x": box["width"] * x, "y": box["height"] * y})
    shown = facts(opened)
    sides = (("right", "left"), ("front", "back"), ("up", "down"))
    assert shown["Position"] == ", ".join(
        f"{abs(value):.1f} mm {side[int(value < 0)]}" for value, side in zip(mm, sides, strict=True)
    )
    assert shown["Voxel (i, j, k)"] == ", ".join(map(str, own))
    assert shown["Value"] == "200"
    assert (shown["Reference"], shown["Prediction"]) == ("background", "background")


def test_sides_are_named_as_radiologists_see_them(opened):
    sides = opened.evaluate("() => PLANES.map((plane) => plane.sides.join(''))")
    assert sides == ["RLAP", "RLSI", "APSI"]


def test_sliders_overlays_and_opacity_change_the_picture(opened):
    choose(opened, "plain")
    seen = [opened.evaluate(PICTURES)]

    def changed():
        seen.append(opened.evaluate(PICTURES))
        return seen[-1] not in seen[:-1]

    for i in range(3):
        opened.locator(f"#slice-{i}").press("ArrowRight")
        assert changed()
    for name in ("reference", "prediction", "crosshair", "difference"):
        opened.locator(f"#show-{name}").click()
        assert changed(), name
    opened.locator("#opacity").fill("90")
    assert changed()
    opened.locator("#dark").fill("10")
    assert changed()
    opened.select_option("#map", "0")
    assert changed()
    assert "Map" in facts(opened)
    assert opened.locator("#map option").nth(1).inner_text() == "attention of level 1, voxels of 2 x 3 x 4 mm"
    assert "Map: 0" in opened.locator(".scale").inner_text()
    for voxel, weight in (((8, 10, 5), "0.75"), ((12, 16, 8), "0.00")):
        for i, across in enumerate((2, 1, 0)):
            opened.locator(f"#slice-{i}").fill(str(voxel[across] + 1))
        assert facts(opened)["Map"] == weight


def test_masks_and_differences_have_their_colours(opened):
    """The prediction is shifted by one voxel to the front: missed at the back, false positive in front."""
    choose(opened, "plain")
    for name in ("reference", "crosshair"):
        opened.locator(f"#show-{name}").uncheck()
    opened.locator("#opacity").fill("100")
    for i, number in enumerate((5, 8, 7)):  # of the axial, coronal and sagittal plane
        opened.locator(f"#slice-{i}").fill(str(number))
    canvas = opened.locator("canvas.plane").first

    def colour(x, y):
        return pixel(canvas, 1 - (x + 0.5) / GRID[0], 1 - (y + 0.5) / GRID[1])

    first, second = ([int(of[i : i + 2], 16) for i in (1, 3, 5)] for of in ("#1f77b4", "#ff7f0e"))
    assert [colour(6, 8), colour(9, 8), colour(6, 12)] == [first, second, first]
    opened.locator("#show-prediction").uncheck()
    opened.locator("#show-reference").check()
    edges = [colour(3.5, 8), colour(8.5, 8), colour(10.5, 8), colour(6, 4.5), colour(6, 11.5)]
    assert edges == [first, second, second, first, first]
    opened.locator("#show-reference").uncheck()
    assert not opened.locator(".legend:has-text('missed')").is_visible()
    opened.locator("#show-prediction").check()
    opened.locator("#show-difference").check()
    assert opened.locator("#show-prediction").is_disabled()
    opened.keyboard.press("m")
    assert opened.locator("#show-prediction").is_checked()
    assert colour(6, 8) not in (first, second)  # no overlay where both agree
    assert [colour(6, 5), colour(6, 12)] == [[255, 236, 61], [220, 38, 127]]
    assert opened.locator(".legend:has-text('missed')").is_visible()


def test_a_case_opens_amid_what_differs_most(opened):
    """Differences count as shares of a class: a missed small structure comes before the edge of a large one."""

    def first_voxel(reference, prediction):
        made = "Object.create(CaseVolume.prototype)"
        facts = f"{{shape: [4, 2, 2], facts: {{predicted: true}}, reference: {reference}, prediction: {prediction}}}"
        return opened.evaluate(f"() => Object.assign({made}, {facts}).startVoxel()")

    large = [1, 1, 1, 1, 1, 1, 1, 0]
    assert first_voxel([*large, 0, 0, 0, 0, 0, 2, 0, 0], [*large[:5], 0, 0, 0, *[0] * 8]) == [1, 1, 1]
    assert first_voxel([*large, *[0] * 8], [*large[:4], 1, 0, 0, 0, *[0] * 8]) == [2, 1, 0]
    assert first_voxel([*[0] * 8, *large], [*[0] * 8, *large]) == [2, 0, 1]
    assert first_voxel([0] * 16, [0] * 16) == [2, 1, 1]


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
    with (report.parent / "e" / "metrics.csv").open() as file:
        rows = {(row["case"], row["class"]): float(row["dice"]) for row in csv.DictReader(file)}
    cells = opened.locator("#case-table tbody tr", has_text="plain").locator("td").all_inner_texts()
    of_classes = [rows["plain", "block"], rows["plain", "<b>bold</b>"]]
    expected = [np.mean(of_classes), *of_classes, rows["plain", "(foreground)"]]
    assert cells == [f"{value:.3f}" for value in expected]
    mean = np.mean([rows[case, "block"] for case in STORED])
    assert opened.locator("#summary-table tbody td").first.inner_text().startswith(f"{mean:.3f}\n± ")


def test_attention_calibration_and_training_are_shown(opened, report):
    rows = [row.split("\t") for row in opened.locator("#attention-table tbody tr").all_inner_texts()]
    means = mean_attention(read_attention(report.parent / "e" / "attention.csv"))
    assert rows == [[str(level), name, *(f"{value:.3f}" for value in of)] for (level, name), of in means.items()]
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


def test_all_is_reachable_by_keyboard(opened):
    choose(opened, "plain")
    canvas = opened.locator("canvas.plane").first
    canvas.focus()
    before = opened.locator("figcaption label").all_inner_texts()
    for key in ("ArrowLeft", "ArrowUp", "PageUp"):
        canvas.press(key)
    after = opened.locator("figcaption label").all_inner_texts()
    assert all(int(b.split()[1]) == int(a.split()[1]) + 1 for a, b in zip(before, after, strict=True))
    opened.locator("#show-crosshair").focus()
    opened.keyboard.press("r")
    assert opened.evaluate("() => document.activeElement.id") == "show-crosshair"
    assert not opened.locator("#show-reference").is_checked()
    opened.keyboard.press("n")
    sync_api.expect(opened.locator("#case")).to_have_value("turned")
    link = opened.locator("#case-table button.link").first
    link.focus()
    link.press("Enter")
    sync_api.expect(opened.locator("#case")).not_to_have_value("turned")


def test_a_dot_of_the_spread_opens_its_case(opened):
    opened.locator("circle.dot:has(title:has-text('turned'))").first.dispatch_event("click")
    sync_api.expect(opened.locator("#case")).to_have_value("turned")


def test_touch_moves_the_crosshair(browser, report):
    pages = open_page(browser, report, has_touch=True)
    page = next(pages)
    choose(page, "plain")
    before = facts(page)["Voxel (i, j, k)"]
    page.locator("canvas.plane").first.tap(position={"x": 12, "y": 12})
    assert facts(page)["Voxel (i, j, k)"] != before
    assert next(pages, None) is None


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_window(browser, report, width):
    pages = open_page(browser, report)
    page = next(pages)
    page.set_viewport_size({"width": width, "height": 900})
    page.evaluate(
        "() => { document.querySelector('#case').options[0].textContent = 'a long name of a case '.repeat(9); }"
    )
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
