"""Findings as a test wants them."""

from math import nan

from attention_unet.explanation.checks import CaseChecks, Deletion
from attention_unet.explanation.deletion import SHARES


def checks(number=6, *, removed=-0.05, rho=0.1, lost=0.3, cam=0.9):
    """Cases that agree but for a little."""
    return [
        CaseChecks(
            case=f"case {i}",
            dice={
                "as trained": 0.9,
                "removed": 0.9 + removed + 0.001 * i,
                "constant": 0.9 + (-1) ** i * 0.001 * (i // 2),
            },
            similarity={"all": {1: rho, 2: rho / 2}},
            deletion=Deletion(1, [0.9 - lost * share / SHARES[-1] for share in SHARES], [0.9] * len(SHARES)),
            grad_cam={"a": cam, "b": nan},
        )
        for i in range(number)
    ]
