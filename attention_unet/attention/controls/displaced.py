"""Control: a mechanism whose weights are moved to where they do not belong."""

import torch
from torch import Tensor

from attention_unet.attention.base import Attended, Attention
from attention_unet.attention.wrappers import take_properties


class Displaced(Attention):
    """The same mechanism with the same parameters and cost, but its weights do not belong to the features they weight.

    The weights are shifted cyclically along channels and axes: in training by offsets that are drawn for each call, so
    that nothing can be learned from where a weight lies; otherwise by half of the size. If the mechanism does not
    multiply its input, what it adds to it is shifted. A gain that remains is one of capacity, not of attention.
    """

    def __init__(self, inner: Attention) -> None:
        super().__init__()
        self.inner = inner
        take_properties(self, [inner])
        self.before_convolution = inner.before_convolution

    def forward(self, x: Tensor, gate: Tensor | None = None, with_map: bool = False) -> Attended:
        """Attend to ``x`` (B, C, *S) with displaced weights."""
        features, weights = self.inner(x, gate, with_map)
        shares = torch.rand(x.dim() - 1).tolist() if self.training else [0.5] * (x.dim() - 1)
        moved = None if weights is None else shift(weights, shares)
        if self.multiplies and moved is not None:
            return Attended(x * moved, moved)
        return Attended(x + shift(features - x, shares), moved)


def shift(values: Tensor, shares: list[float]) -> Tensor:
    """Shift (B, C, *S) cyclically along all but the first axis, by 1 to n - 1 of n places; a single place stays.

    ``shares`` are from 0 for the smallest shift of an axis to nearly 1 for the largest.
    """
    axes = range(1, values.dim())
    places = [1 + int(share * (n - 1)) for n, share in zip(values.shape[1:], shares, strict=True)]
    return torch.roll(values, places, tuple(axes))
