"""Build checks of cases for tests."""

from math import nan

from attention_unet.explanation.checks import CaseChecks, DeletionCurves
from attention_unet.explanation.deletion_curve import SHARES


def checks(number=6, *, trained=0.9, removed=-0.05, other=-0.03, pairs=None, lost=0.3, lost_by_distance=0.1, cam=0.9):
    """Return checks of similar cases. ``removed``, ``other``: Dice change; ``lost``: loss at the last share."""

    def curve(loss):
        return [trained - loss * share / SHARES[-1] for share in SHARES]

    if pairs is None:
        pairs = {
            "random weights": {"skip 1": 0.1},
            "two random networks": {"skip 1": 0.8},
            "another case": {"skip 1": 0.3},
        }
    return [
        CaseChecks(
            case=f"case {i}",
            dice={
                "as trained": trained,
                "random weights": 0.02,
                "removed": trained + removed + 0.001 * i,
                "constant": trained + (-1) ** i * 0.001 * (i // 2),
                "own map": trained - 0.01,
                "mean map": trained - 0.01 + other + 0.001 * i,
                "another case": trained - 0.01 + other - 0.001 * i,
            },
            agreement=pairs,
            deletion=DeletionCurves("skip 1", curve(lost), curve(lost_by_distance + 0.001 * i), curve(0)),
            grad_cam={"a": cam, "b": nan},
        )
        for i in range(number)
    ]
