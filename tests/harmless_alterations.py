"""Alterations of ``tests.alterations`` that change nothing anyone could see, by file, each with the reason."""

HARMLESS: dict[str, dict[str, str]] = {}
