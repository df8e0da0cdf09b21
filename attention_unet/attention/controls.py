"""Controls to train beside a mechanism, to see what of its gain is attention."""

import torch
from torch import Tensor, nn

from attention_unet.attention.base import OPEN_BIAS, Attended, Attention, Place
from attention_unet.attention.wrappers import take_properties
from attention_unet.layers.dimensions import interpolate_to

EDGE = 8  # learned weights along each axis


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


class Template(Attention):
    """One learned weight for each place of a window, for each channel, or for both, as the mechanism has.

    The weights of places are resampled linearly to the grid. What a mechanism gains beyond its template depends on the
    image. In crops around a structure, the place alone says much.

    Args:
        place: where it sits; the open start has weights of 0.95, the "paper" start of 0.5.
        inner: the mechanism that it stands for; only its kind is used.

    Raises:
        ValueError: if the mechanism does not multiply its input by weights of channels or places.
    """

    def __init__(self, place: Place, inner: Attention) -> None:
        super().__init__()
        if inner.kind not in ("channel", "spatial", "mixed") or not inner.multiplies:
            raise ValueError(
                f"template learns weights of channels or places, but {type(inner).__name__} does not multiply its "
                "input by such: choose a mechanism that does, such as gate or se"
            )
        self.kind = inner.kind
        sides = [1 if inner.kind == "channel" else EDGE] * place.dims
        self.start = OPEN_BIAS if place.open else 0.0
        # Differences from the start, so that weight decay leads back to it.
        self.difference = nn.Parameter(torch.zeros(1, 1 if inner.kind == "spatial" else place.channels, *sides))

    def forward(self, x: Tensor, gate: Tensor | None = None, with_map: bool = False) -> Attended:
        """Weight ``x`` (B, C, *S) with the learned weights."""
        difference: Tensor = self.difference
        if self.kind != "channel":
            difference = interpolate_to(difference, x.shape[2:])
        weights = torch.sigmoid(self.start + difference).to(x.dtype).expand(len(x), *difference.shape[1:])
        return Attended(x * weights, weights)
