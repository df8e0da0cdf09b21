"""Figures of the reliability tests, printed at the end of a session and kept in docs/reliability.md."""

FIGURES: dict[str, str] = {}


def tell(name: str, text: str) -> None:
    """Record a line to print at the end; a later line of the same name (the longer test) replaces it."""
    FIGURES[name] = text
