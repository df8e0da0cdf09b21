"""Figures: what stands on them is drawn as it is written, and their files are replaced in one piece."""

from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.text import Text

from attention_unet.files.atomic import replacing

MARK = b"Software\0attention_unet"  # among the first bytes of every figure


def literal(figure: Figure) -> Figure:
    """Draw names of files and classes as they are: two dollar signs make no formula, which may well be no valid one."""
    for text in figure.findobj(Text):
        text.set_parse_math(False)
    return figure


def save_figure(figure: Figure, output: Path) -> None:
    """Write a PNG."""
    with replacing(output) as partial:
        literal(figure).savefig(partial, metadata={"Software": "attention_unet"})
