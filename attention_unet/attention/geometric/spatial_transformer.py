"""Spatial transformer on a skip: find a box, transform its content, and add the result in the box."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attention_unet.attention.base import Attended, Attention, Place, start_at_zero
from attention_unet.attention.geometric.box import cut_out, put_back
from attention_unet.layers.dimensions import CONV, pool_to
from attention_unet.layers.normalization import InstanceNorm

COARSE = 4  # voxels along each axis of the grid that the localisation sees


class SpatialTransformer(Attention):
    """Spatial transformer with a way back, after Jaderberg et al., "Spatial Transformer Networks", NeurIPS 2015::

        (t, s) = loc(x),  v = look(x at s p + t),  y = x + v at (p - t) / s

    The paper's warp would break the correspondence of a skip with the decoder and the label. Here the result of the box
    is added at the position of the box. The transformation is a shift t and a scale s > 0 for each axis (the paper's
    "attention"). look is a depth-wise 3 x 3 (x 3) and a 1 x 1 convolution. It starts with the box around the whole grid
    and with nothing added: the exact identity.
    """

    kind: str = "geometric"
    multiplies = False

    def __init__(self, place: Place) -> None:
        super().__init__()
        dims, channels = place.dims, place.channels
        self.summary = CONV[dims](channels, 8, kernel_size=1)
        self.locate_hidden = nn.Linear(8 * COARSE**dims, 32)
        self.locate_out = nn.Linear(32, 2 * dims)
        start_at_zero(self.locate_out)
        last = CONV[dims](channels, channels, kernel_size=1)
        start_at_zero(last)
        self.look = nn.Sequential(
            CONV[dims](channels, channels, kernel_size=3, padding=1, groups=channels, bias=False),
            *[InstanceNorm(channels), nn.ReLU(), last],
        )

    def forward(self, x: Tensor, gate: Tensor | None = None, with_map: bool = False) -> Attended:
        """Attend to ``x`` (B, C, *S); weights (B, 1, *S) are 1 in the box and 0 outside, with an edge of one voxel."""
        centre, extent = self.box(x)
        grid = x.shape[2:]
        content = self.look(cut_out(x, centre, extent, grid))
        inside = put_back(torch.ones_like(x[:, :1]), centre, extent, grid)
        return Attended((x + put_back(content, centre, extent, grid)).to(x.dtype), inside)

    def box(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return centre and extent (B, dims) of the box in ``x`` (B, C, *S), in units of half the grid."""
        dims = x.dim() - 2
        summary = F.relu(self.summary(pool_to(x, (COARSE,) * dims)))
        out = self.locate_out(F.relu(self.locate_hidden(summary.flatten(1))))
        out = out.to(torch.promote_types(out.dtype, torch.float32))
        # The centre stays in the grid and the scale between e^-2 and e^2, so that the box can be put back.
        return torch.tanh(out[:, :dims]), torch.exp(2 * torch.tanh(out[:, dims:] / 2))
