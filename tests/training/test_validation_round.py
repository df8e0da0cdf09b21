"""Advice after validations."""

import math
from types import SimpleNamespace

import pytest

from attention_unet.training.checkpoint import LoopState
from attention_unet.training.validation_round import warn_if_low


@pytest.mark.parametrize(
    ("patch", "dice", "advice"),
    [
        ((32, 32, 32), (0.2, 0.2), "train longer, or let a patch see more of a scan"),
        ((64, 64, 64), (0.2, 0.2), "train longer"),  # a patch sees all of it
        ((64, 64, 1), (0.2, 0.2), "train longer"),  # all of a slice
        ((64, 32, 1), (0.2, 0.2), "train longer, or let a patch see more of a scan"),
        ((64, 64, 64), (0.4, 0.0), "train longer, or raise data.foreground_share"),
        ((32, 32, 32), (0.2, math.nan), "train longer, or let a patch see more of a scan"),  # no case has class b
    ],
)
def test_a_low_dice_is_warned_of_with_what_may_help(patch, dice, advice, caplog):
    plan = SimpleNamespace(
        labels=SimpleNamespace(names=("a", "b")),
        patch=patch,
        slice_axis=2 if 1 in patch else None,
        preprocessing=SimpleNamespace(spacing_mm=(1.5, 1.5, 2.0)),
        region_mm=None,
        largest_mm=(90.0, 96.0, 81.0),
    )
    training = SimpleNamespace(loop=LoopState(), settings=SimpleNamespace(plan=plan))
    row = {"dice": 0.2, "dice a": dice[0], "dice b": dice[1]}
    for progress in (0.3, 0.5, 0.7):
        warn_if_low(training, progress, row)
    (message,) = [record.getMessage() for record in caplog.records]
    assert message.startswith("mean Dice is only 0.2000 after 50 % of the budget: ")
    assert message.partition("budget: ")[2].partition(" (")[0].partition(" for")[0] == advice
