"""The viewer of cases, in a real browser."""

import base64
import io

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.report.browse import choose, open_page
from tests.report.build import GRID, SPOT, STORED

PICTURES = "() => [...document.querySelectorAll('canvas.plane')].map((canvas) => canvas.toDataURL()).join()"


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
    assert opened.locator("#map option").nth(1).inner_text() == "attention, skip 1, voxels of 2 x 3 x 4 mm"
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

    def first_voxel(reference, prediction, ignored="[]"):
        made = "Object.create(CaseVolume.prototype)"
        masks = f"reference: {reference}, prediction: {prediction}, ignored: {ignored}"
        facts = f"{{shape: [4, 2, 2], facts: {{predicted: true}}, {masks}}}"
        return opened.evaluate(f"() => Object.assign({made}, {facts}).startVoxel()")

    large = [1, 1, 1, 1, 1, 1, 1, 0]
    assert first_voxel([*large, 0, 0, 0, 0, 0, 2, 0, 0], [*large[:5], 0, 0, 0, *[0] * 8]) == [1, 1, 1]
    assert first_voxel([*large, *[0] * 8], [*large[:4], 1, 0, 0, 0, *[0] * 8]) == [2, 1, 0]
    assert first_voxel([*[0] * 8, *large], [*[0] * 8, *large]) == [2, 0, 1]
    assert first_voxel([0] * 16, [0] * 16) == [2, 1, 1]
    ignored = "[...Array(8).fill(0), 1, 1, 1, 1, 0, 0, 0, 0]"
    assert first_voxel([0] * 16, [*[0] * 8, 1, 1, 1, 1, 0, 0, 1, 0]) == [2, 0, 1]
    assert first_voxel([0] * 16, [*[0] * 8, 1, 1, 1, 1, 0, 0, 1, 0], ignored) == [2, 1, 1]


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
    expect(opened.locator("#case")).to_have_value("turned")
    link = opened.locator("#case-table button.link").first
    link.focus()
    link.press("Enter")
    expect(opened.locator("#case")).not_to_have_value("turned")


def test_touch_moves_the_crosshair(browser, report):
    pages = open_page(browser, report, has_touch=True)
    page = next(pages)
    choose(page, "plain")
    before = facts(page)["Voxel (i, j, k)"]
    page.locator("canvas.plane").first.tap(position={"x": 12, "y": 12})
    assert facts(page)["Voxel (i, j, k)"] != before
    assert next(pages, None) is None
