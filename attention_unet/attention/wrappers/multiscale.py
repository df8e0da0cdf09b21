"""A mechanism that weighs, at several scales at once."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attention_unet.attention.base import Attended, Attention
from attention_unet.attention.wrappers.sequential import common_kind
from attention_unet.layers.dimensions import INTERPOLATION, pool_to


class MultiScale(Attention):
    """y = x * sum_s pi_s up(M_s(down_s x)), with pi a softmax of one number a scale.

    Each scale has a mechanism of its own, which sees the features averaged over blocks of 1, 2, 4, ... voxels; its
    weights are resampled linearly. The idea is common (Sinha and Dolz, "Multi-scale self-guided attention ...", 2020,
    has one such form); this plain one has no paper of its own.

    Args:
        dims: 2 or 3 spatial dimensions.
        inners: a mechanism a scale, finest first; all must multiply.

    Raises:
        ValueError: if one does not.
    """

    def __init__(self, dims: int, inners: Sequence[Attention]) -> None:
        super().__init__()
        wrong = [type(inner).__name__ for inner in inners if not inner.multiplies]
        if wrong:
            raise ValueError(f"scales are joined by their weights: {wrong[0]} does not multiply its input")
        self.interpolation = INTERPOLATION[dims]
        self.inners = nn.ModuleList(inners)
        self.preference = nn.Parameter(torch.zeros(len(inners)))
        self.kind = common_kind(inners)
        self.needs_gate = any(inner.needs_gate for inner in inners)

    def forward(self, x: Tensor, gate: Tensor | None = None) -> Attended:
        """Weight ``x`` (B, C, *S); each scale receives ``gate``."""
        share = torch.softmax(self.preference, dim=0)
        weights: Tensor | None = None
        for i, inner in enumerate(self.inners):
            grid = [-(-n // 2**i) for n in x.shape[2:]]
            applied = inner(pool_to(x, grid) if i else x, gate).weights.to(x.dtype)
            if inner.kind != "channel":
                applied = F.interpolate(applied, x.shape[2:], mode=self.interpolation, align_corners=False)
            part = share[i].to(x.dtype) * applied
            weights = part if weights is None else weights + part
        if weights is None:
            raise ValueError("a mechanism at several scales needs at least one")
        return Attended(x * weights, weights)
