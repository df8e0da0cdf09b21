"""Deformable attention: every voxel attends to a few points that it chooses."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from attention_unet.attention.base import Attended, Gathering, Place, start_at_zero
from attention_unet.layers.dimensions import CONV


class DeformableAttention(Gathering):
    """Single-scale form of Zhu et al., "Deformable DETR", ICLR 2021; the query of a voxel is its features::

        y_n = x_n + W sum_h sum_k A_nhk V_h(n + delta_nhk),  sum_k A_nhk = 1

    delta (in voxels) and the logits of A are linear in x_n. V is sampled linearly, and is 0 outside the grid. The
    points of each head start on a ray from the voxel. W starts at 0: the exact identity.

    Args:
        heads: groups of channels that choose their points separately; if they do not divide C, the greatest common
            divisor of both.
        points: points of each head.
    """

    def __init__(self, place: Place, *, heads: int = 4, points: int = 4) -> None:
        super().__init__()
        dims, channels = place.dims, place.channels
        self.heads, self.points = math.gcd(channels, heads), points
        self.offset = CONV[dims](channels, self.heads * points * dims, kernel_size=1)
        self.logit = CONV[dims](channels, self.heads * points, kernel_size=1)
        self.value = CONV[dims](channels, channels, kernel_size=1)
        self.project = CONV[dims](channels, channels, kernel_size=1)
        for layer in (self.offset, self.logit, self.project):
            start_at_zero(layer)
        steps = torch.arange(1, points + 1.0)
        axes = torch.eye(dims)  # heads look forward along each axis, then backward
        rays = torch.cat([axes, 0 - axes]).repeat(self.heads, 1)[: self.heads]
        self.offset.bias.data.copy_((rays[:, None] * steps[:, None]).flatten())  # type: ignore[union-attr]

    def forward(self, x: Tensor, gate: Tensor | None = None, with_map: bool = False) -> Attended:
        """Attend from ``x`` (B, C, *S) to itself; weights are the received map (B, 1, *S); 1 is an equal share."""
        positions, share = self.look_at(x)
        value = promote(self.value(x)).reshape(len(x) * self.heads, -1, *x.shape[2:])
        gathered = torch.zeros_like(value)
        # Point by point: prediction then holds one copy of the values at a time.
        for k in range(self.points):
            sampled = F.grid_sample(value, sampling_grid(positions[:, k], x.shape[2:]), align_corners=False)
            gathered = gathered + share[:, k, None] * sampled
        gathered = gathered.reshape(x.shape)
        received = add_up_shares(positions.detach(), share.detach(), len(x)).to(x.dtype) if with_map else None
        return Attended((x + self.project(gathered.to(x.dtype))).to(x.dtype), received)

    def look_at(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Choose the points that each voxel of ``x`` (B, C, *S) attends to.

        Return their positions (B * heads, points, dims, *S) in voxels, and their shares (B * heads, points, *S).
        """
        grid = x.shape[2:]
        offset = promote(self.offset(x)).reshape(len(x) * self.heads, self.points, len(grid), *grid)
        logit = promote(self.logit(x)).reshape(len(x) * self.heads, self.points, *grid)
        voxels = torch.stack(torch.meshgrid(*(torch.arange(n, device=x.device) for n in grid), indexing="ij"))
        return voxels + offset, torch.softmax(logit, dim=1)


def promote(values: Tensor) -> Tensor:
    """Convert values to float32 at least: positions need more than the 8 bits of bfloat16."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def sampling_grid(positions: Tensor, grid: torch.Size) -> Tensor:
    """Return positions (B, dims, *S) in voxels as ``grid_sample`` expects them: (B, *S, dims), the last axis first.

    -1 and 1 are the outer faces of the first and the last voxel, so that an axis of one voxel does not divide by zero.
    """
    sizes = torch.tensor(grid, device=positions.device, dtype=positions.dtype)
    scaled = (2 * positions.movedim(1, -1) + 1) / sizes - 1
    return scaled.flip(-1)


def add_up_shares(positions: Tensor, share: Tensor, cases: int) -> Tensor:
    """Return the attention that each voxel receives, (B, 1, *S): shares (B * heads, points, *S), at the nearest voxels.

    1 is an equal share. Points outside the grid are not counted.
    """
    grid = positions.shape[3:]
    nearest = positions.movedim(2, -1).round().long()
    sizes = torch.tensor(grid, device=positions.device)
    inside = ((nearest >= 0) & (nearest < sizes)).all(dim=-1)
    flat = torch.zeros(nearest.shape[:-1], dtype=torch.long, device=positions.device)
    for axis, n in enumerate(grid):
        flat = flat * n + nearest[..., axis].clamp(0, n - 1)
    heads = len(share) // cases
    received = torch.zeros(cases, grid.numel(), dtype=share.dtype, device=share.device)
    received = received.scatter_add(1, flat.reshape(cases, -1), (share * inside).reshape(cases, -1))
    return received.reshape(cases, 1, *grid) / heads
