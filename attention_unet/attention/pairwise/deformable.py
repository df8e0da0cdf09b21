"""Deformable attention: every voxel looks at a few points of its own choice."""

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attention_unet.attention.base import Attended, Attention
from attention_unet.layers.dimensions import CONV


class DeformableAttention(Attention):
    """Single-scale form of Zhu et al., "Deformable DETR", ICLR 2021, the features of a voxel being its query::

        y_n = x_n + W sum_h sum_k A_nhk V_h(n + delta_nhk),  sum_k A_nhk = 1

    delta (in voxels) and the logits of A are linear in x_n. V is sampled linearly, and is 0 outside the grid. The
    points start on rays around the voxel, a head each; W starts at 0: the exact identity.

    Args:
        dims: 2 or 3 spatial dimensions.
        channels: channels C of x.
        heads: number of groups of channels that choose points for themselves; 1 if it does not divide C.
        points: number of points a head.
    """

    kind: str = "pairwise"
    multiplies = False

    def __init__(self, dims: int, channels: int, heads: int = 4, points: int = 4) -> None:
        super().__init__()
        self.heads, self.points = heads if channels % heads == 0 else 1, points
        self.offset = CONV[dims](channels, self.heads * points * dims, kernel_size=1)
        self.logit = CONV[dims](channels, self.heads * points, kernel_size=1)
        self.value = CONV[dims](channels, channels, kernel_size=1)
        self.project = CONV[dims](channels, channels, kernel_size=1)
        for layer in (self.offset, self.logit, self.project):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]  # the bias is there
        steps = torch.arange(1, points + 1.0)
        rays = torch.tensor(list(itertools.islice(itertools.cycle(directions(dims)), self.heads)))
        self.offset.bias.data.copy_((rays[:, None] * steps[:, None]).flatten())  # type: ignore[union-attr]

    def forward(self, x: Tensor, gate: Tensor | None = None) -> Attended:
        """Attend from ``x`` (B, C, *S) to itself; weights are the received map (B, 1, *S), 1 being an equal share."""
        positions, share = self.look_at(x)
        value = precise(self.value(x)).reshape(len(x) * self.heads, -1, *x.shape[2:])
        gathered = torch.zeros_like(value)
        # Point by point, so that prediction holds one copy of the values at a time.
        for k in range(self.points):
            sampled = F.grid_sample(value, normalised(positions[:, k], x.shape[2:]), align_corners=False)
            gathered = gathered + share[:, k, None] * sampled
        gathered = gathered.reshape(x.shape)
        received = splat(positions.detach(), share.detach(), len(x))
        return Attended((x + self.project(gathered.to(x.dtype))).to(x.dtype), received.to(x.dtype))

    def look_at(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Where each voxel of ``x`` (B, C, *S) looks, in voxels, and how much.

        Returns:
            Positions (B * heads, points, dims, *S) and shares (B * heads, points, *S) that sum to 1 over the points.
        """
        grid = x.shape[2:]
        offset = precise(self.offset(x)).reshape(len(x) * self.heads, self.points, len(grid), *grid)
        logit = precise(self.logit(x)).reshape(len(x) * self.heads, self.points, *grid)
        own = torch.stack(torch.meshgrid(*(torch.arange(n, device=x.device) for n in grid), indexing="ij"))
        return own + offset, torch.softmax(logit, dim=1)


def precise(values: Tensor) -> Tensor:
    """Values in float32 at least: positions need more than the 8 bits of bfloat16."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def directions(dims: int) -> list[list[float]]:
    """Unit steps along each axis, then back along each."""
    return [[sense if a == axis else 0.0 for a in range(dims)] for sense in (1.0, -1.0) for axis in range(dims)]


def normalised(positions: Tensor, grid: torch.Size) -> Tensor:
    """Positions (B, dims, *S) in voxels as torch samples them: (B, *S, dims) from -1 to 1, the last axis first.

    The ends lie at the outer faces of the first and the last voxel, so that an axis of one voxel divides by no zero.
    """
    sizes = torch.tensor(grid, device=positions.device, dtype=positions.dtype)
    scaled = (2 * positions.movedim(1, -1) + 1) / sizes - 1
    return scaled.flip(-1)


def splat(positions: Tensor, share: Tensor, cases: int) -> Tensor:
    """Attention that falls to each voxel: shares (B * heads, points, *S) added up at the voxels nearest to positions.

    Returns:
        (B, 1, *S), 1 being an equal share. What falls outside the grid is not counted.
    """
    grid = positions.shape[3:]
    nearest = positions.movedim(2, -1).round().long()
    sizes = torch.tensor(grid, device=positions.device)
    inside = ((nearest >= 0) & (nearest < sizes)).all(dim=-1)
    flat = torch.zeros(nearest.shape[:-1], dtype=torch.long, device=positions.device)
    for axis, n in enumerate(grid):
        flat = flat * n + nearest[..., axis].clamp(0, n - 1)
    heads = len(share) // cases
    landed = torch.zeros(cases, grid.numel(), dtype=share.dtype, device=share.device)
    landed = landed.scatter_add(1, flat.reshape(cases, -1), (share * inside).reshape(cases, -1))
    return landed.reshape(cases, 1, *grid) / heads
