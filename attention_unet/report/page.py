"""Build one HTML file with style, scripts and data. It loads nothing and sends nothing."""

import base64
import hashlib
import html
import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from attention_unet.inference.model_file import versions
from attention_unet.scans.label_table import COLOURS

PARTS = Path(__file__).parent / "page"
EVALUATION = ("scores.js", "volume.js", "planes.js", "viewer.js", "training.js", "page.js")  # scripts, in order
STUDY = ("study.js",)


def build_page(
    title: str, facts: Mapping[str, Any], voxels: Mapping[str, bytes], scripts: Sequence[str] = EVALUATION
) -> str:
    """Return the page as HTML: with these facts, its title, the date, the versions and the colours of classes."""
    facts = {
        "title": title,
        "made": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "versions": versions(),
        "colours": COLOURS,
        **facts,
    }
    style = (PARTS / "style.css").read_text(encoding="utf-8")
    script = "\n".join((PARTS / name).read_text(encoding="utf-8") for name in ("elements.js", "charts.js", *scripts))
    parts = {
        "title": html.escape(f"{title} · attention_unet"),
        "policy": f"default-src 'none'; style-src {_hash_of(style)}; script-src {_hash_of(script)}",
        "style": style,
        "facts": as_json(facts),
        "voxels": "\n".join(
            f'<script type="text/plain" class="voxels" data-case="{html.escape(case)}">'
            f"{base64.b64encode(packed).decode()}</script>"
            for case, packed in voxels.items()
        ),
        "script": script,
    }
    return (PARTS / "page.html").read_text(encoding="utf-8").format(**parts)


def as_json(facts: Mapping[str, Any]) -> str:
    """Return JSON without "<", because a browser would read a tag in it as the end of the script."""
    return json.dumps(facts, allow_nan=False).replace("<", "\\u003c")


def _hash_of(text: str) -> str:
    """Return the hash by which the policy of the page allows a style or script. Others are blocked."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
