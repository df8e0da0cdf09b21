"""How to predict, and what to tell."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Settings:
    """How to predict, and what to tell of it.

    Attributes:
        precision: torch.float32 or torch.bfloat16; None for the latter where the device computes in it.
        overlap: of windows, 0 to below 1.
        mirrored: whether to see every window mirrored as well, along the axes that the training mirrored, and average.
        attention: whether to give attention maps.
        probabilities: whether to give probabilities.
        uncertainty: whether to give maps of uncertainty.
        keep_largest: whether to keep only the largest piece of the classes for which that has helped all models.
        memory: bytes that the prediction of a scan may take beside program and models, the scan included; None for most
            of what is free.
    """

    precision: torch.dtype | None = None
    overlap: float = 0.5
    mirrored: bool = False
    attention: bool = False
    probabilities: bool = False
    uncertainty: bool = False
    keep_largest: bool = False
    memory: int | None = None
