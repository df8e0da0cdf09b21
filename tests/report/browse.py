"""Open a report in a browser."""

import re
from urllib.parse import urlparse

from playwright.sync_api import expect


def open_page(browser, path, shown="#show-reference", **context):
    """Open a page. It must raise no error, load nothing and show no dialog."""
    page = browser.new_page(viewport={"width": 1200, "height": 900}, **context)
    troubles = []
    page.on("console", lambda message: troubles.append(message.text))
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("dialog", lambda dialog: troubles.append(dialog.message))
    page.on("request", lambda request: urlparse(request.url).scheme in ("file", "data") or troubles.append(request.url))
    page.goto(path.as_uri())
    page.wait_for_selector(shown)
    yield page
    assert troubles == []
    page.close()


def choose(page, case):
    page.select_option("#case", case)
    expect(page.locator("#case-scores")).to_have_text(re.compile(f"^{re.escape(case)}: "))
