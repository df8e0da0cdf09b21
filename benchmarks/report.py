"""Update docs/report.md: ``python benchmarks/report.py runs/hippocampus-folds/fold4 --write``

Checks the attention of the run, writes its report, opens the report in a browser and takes two screenshots.
"""

import argparse
import json
import shutil
from pathlib import Path

from playwright.sync_api import Page, sync_playwright
from publish import REPOSITORY, parse, publish

from attention_unet.cli import main as attention_unet
from attention_unet.files.run_folder import EXPLANATION, HELD_OUT, REPORT

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WIDTH = 1240
PAGE = REPOSITORY / "docs" / "report.md"


def main() -> None:
    """Explain and report the run; take screenshots."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--cases", type=int, default=1000, help="number of cases to explain")
    options = parse(parser, PAGE)
    for call in (["explain", str(options.run), "--cases", str(options.cases)], ["report", str(options.run)]):
        if attention_unet(call):
            raise SystemExit(f"{' '.join(call)} failed")
    findings = json.loads((options.run / HELD_OUT / EXPLANATION).read_text(encoding="utf-8"))
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    folder = REPOSITORY / "docs" if options.write else options.run
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox", "--disable-gpu"])
        page = opened.new_page(viewport={"width": WIDTH, "height": 1000})
        page.goto((options.run / REPORT).resolve().as_uri())
        page.wait_for_selector("#show-reference")
        _show_masks(page, folder / "report-light.png")
        page.emulate_media(color_scheme="dark")
        _show_attention(page, folder / "report-dark.png")
        opened.close()
    publish([], [f"- {sentence}" for sentence in findings["sentences"]] + [""], options.documents)


def _show_masks(page: Page, picture: Path) -> None:
    """Save the page down to the viewer's end."""
    box = page.locator("#viewer").bounding_box()
    if box is None:
        raise SystemExit("the report shows no case")
    clip = {"x": 0, "y": 0, "width": WIDTH, "height": box["y"] + box["height"] + 16}
    page.screenshot(path=picture, full_page=True, clip=clip)  # type: ignore[arg-type]


def _show_attention(page: Page, picture: Path) -> None:
    """Save the viewer with attention of the finest level and the reference outline."""
    page.select_option("#map", index=1)
    page.locator("#show-prediction").uncheck()
    page.locator("#viewer").screenshot(path=picture)


if __name__ == "__main__":
    main()
