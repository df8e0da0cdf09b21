"""Wrapper that mixes the weights of a mechanism at several scales."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from attention_unet.attention.base import Attended, Attention, apply_weights
from attention_unet.attention.wrappers.sequential import take_properties
from attention_unet.layers.dimensions import interpolate_to, pool_to


class MultiScale(Attention):
    """Mixture over scales, y = x * sum_s pi_s up(M_s(down_s x)), with pi a softmax of one number per scale.

    Each scale has its own mechanism, which sees the features averaged over blocks of 1, 2, 4, ... voxels. Its weights
    are resampled linearly. The idea is common; Sinha and Dolz, "Multi-scale self-guided attention ...", 2020, has one
    such form. This plain form has no paper.

    Args:
        build_inner: builds the mechanism of a scale; it must multiply.
        scales: number of scales.
    """

    def __init__(self, build_inner: Callable[[], Attention], *, scales: int = 3) -> None:
        super().__init__()
        inners = [build_inner() for _ in range(scales)]
        if not inners[0].multiplies:
            raise ValueError(
                f"multiscale mixes weights, but {type(inners[0]).__name__} does not multiply its input by weights: "
                "choose a mechanism that does, such as gate or spatial"
            )
        self.inners = nn.ModuleList(inners)
        self.preference = nn.Parameter(torch.zeros(scales))
        take_properties(self, inners)

    def forward(self, x: Tensor, gate: Tensor | None = None, with_map: bool = False) -> Attended:
        """Weight ``x`` (B, C, *S); each scale receives ``gate``."""
        share = torch.softmax(self.preference, dim=0)
        parts: list[Tensor] = []
        for i, inner in enumerate(self.inners):
            grid = [-(-n // 2**i) for n in x.shape[2:]]
            applied = inner(pool_to(x, grid) if i else x, gate, with_map).weights.to(x.dtype)
            if inner.kind != "channel":
                applied = interpolate_to(applied, x.shape[2:])
            parts.append(share[i].to(x.dtype) * applied)
        return apply_weights(x, sum(parts[1:], start=parts[0]))
