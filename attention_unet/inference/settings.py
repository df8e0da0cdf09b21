"""How to predict, and what to tell."""

from dataclasses import dataclass

import torch

from attention_unet.errors import ConfigError
from attention_unet.files.prediction_folder import ATTENTION, PROBABILITIES, UNCERTAINTY


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
        keep_largest: classes that keep only their largest connected component; None for those to which that did good on
            the held-out cases of the training.
        memory: bytes that the prediction of a scan may take beside program and models, the scan included; None for most
            of what is free.
        channel: of a scan of several, the one to take, from 0; None for all.
    """

    precision: torch.dtype | None = None
    overlap: float = 0.5
    mirrored: bool = False
    attention: bool = False
    probabilities: bool = False
    uncertainty: bool = False
    keep_largest: tuple[str, ...] | None = None
    memory: int | None = None
    channel: int | None = None

    def __post_init__(self) -> None:
        """Check what could not end well.

        Raises:
            ConfigError: if overlap or channel are out of their range.
        """
        if not 0 <= self.overlap < 1:
            raise ConfigError(f"overlap is {self.overlap}: expected 0 to below 1")
        if self.channel is not None and self.channel < 0:
            raise ConfigError(f"channel is {self.channel}: expected 0 or more")

    @property
    def extras(self) -> list[str]:
        """Names of what to tell beside the label map."""
        return [name for name in (ATTENTION, PROBABILITIES, UNCERTAINTY) if getattr(self, name)]
