"""Write figures of matplotlib to PNG files, and draw their texts literally."""

from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.text import Text

from attention_unet.files.atomic import replacing

MARK = b"Software\0attention_unet"  # is among the first bytes of every figure


def save_figure(figure: Figure, output: Path) -> None:
    """Write a figure as a PNG. The file appears whole or not at all."""
    for text in figure.findobj(Text):  # otherwise names with two dollar signs are drawn as formulas, or fail
        text.set_parse_math(False)
    with replacing(output) as partial:
        figure.savefig(partial, metadata={"Software": "attention_unet"})
