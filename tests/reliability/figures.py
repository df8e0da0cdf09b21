"""What the tests of reliability counted, told at the end of a session; docs/reliability.md keeps it."""

FIGURES: dict[str, str] = {}


def tell(name: str, text: str) -> None:
    """Have a line printed at the end; of several of a name the last counts, which is the longer test."""
    FIGURES[name] = text
