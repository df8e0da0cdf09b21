"""The part of a model that an export computes: from preprocessed windows to probabilities."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from attention_unet.inference.model import Model


class WindowNetwork(nn.Module):
    """The network of a model, with softmax or sigmoid at its end.

    Args:
        model: a model on the CPU.
    """

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.network = model.network
        self.overlapping = model.plan.labels.overlapping

    def forward(self, window: Tensor) -> Tensor:
        """Return probabilities (B, K, *S) of windows (B, C, *S): of background and classes, or of overlapping classes.

        *S has the axes that the network sees: a 2-D network sees slices.
        """
        logits = self.network(window)
        return torch.sigmoid(logits) if self.overlapping else torch.softmax(logits, dim=1)


def draw_window(model: Model, batch: int, sizes: Sequence[int]) -> Tensor:
    """Return windows of noise."""
    return torch.randn(batch, len(model.plan.channels), *sizes, generator=torch.Generator().manual_seed(0))
