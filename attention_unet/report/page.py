"""One HTML file of style, scripts and data, which loads nothing and sends nothing."""

import base64
import hashlib
import html
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PARTS = Path(__file__).parent / "page"
SCRIPTS = ("elements.js", "charts.js", "scores.js", "volume.js", "planes.js", "viewer.js", "training.js", "page.js")
GAP = re.compile(r"\{\{(\w+)\}\}")


def build_page(title: str, facts: Mapping[str, Any], voxels: Mapping[str, bytes]) -> str:
    """The page.

    Args:
        title: of the page.
        facts: plain values; the scripts read them.
        voxels: of each case that can be looked at.
    """
    style = (PARTS / "style.css").read_text(encoding="utf-8")
    script = "\n".join((PARTS / name).read_text(encoding="utf-8") for name in SCRIPTS)
    parts = {
        "title": html.escape(title),
        "policy": f"default-src 'none'; style-src {_hash_of(style)}; script-src {_hash_of(script)}",
        "style": style,
        "facts": as_json(facts),
        "voxels": "\n".join(
            f'<script type="text/plain" class="voxels" data-case="{html.escape(case)}">'
            f"{base64.b64encode(of_case).decode()}</script>"
            for case, of_case in voxels.items()
        ),
        "script": script,
    }
    template = (PARTS / "page.html").read_text(encoding="utf-8")
    return GAP.sub(lambda gap: parts[gap[1]], template)


def as_json(facts: Mapping[str, Any]) -> str:
    """JSON that no text in it can end early: a browser takes what looks like a tag for one even in here."""
    return json.dumps(facts, allow_nan=False).replace("<", "\\u003c")


def _hash_of(text: str) -> str:
    """Name of a style or script that the page's policy lets in; no other is."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
