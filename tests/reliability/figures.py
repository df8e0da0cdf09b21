"""Figures of the reliability tests, printed at the end of a session; docs/reliability.md sums them up."""

FIGURES: dict[str, str] = {}


def tell(name: str, text: str) -> None:
    """Record a line to print at the end; a later line of the same name (the longer test) replaces it."""
    FIGURES[name] = text
