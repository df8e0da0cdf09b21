"""Recurrent attention: look at a position, then choose the next one."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attention_unet.attention.base import OPEN_BIAS, Attended, Attention, Place, apply_weights
from attention_unet.attention.geometric.box import cut_out, squared_distance
from attention_unet.layers.dimensions import CONV, pool_to

EDGE = 5  # voxels of a retina patch along each axis
PATCHES = 3  # patches of a retina
CHANNELS = 4  # channels of a retina
STATE = 64  # width of the recurrent state


class Glimpse(Attention):
    """Glimpses after Mnih et al., "Recurrent Models of Visual Attention", NeurIPS 2014::

        rho_t = retina(x, l_t),  g_t = relu(W relu(W_rho rho_t) + W relu(W_l l_t)),  h_t = relu(W_h h_t-1 + W_g g_t),
        l_t+1 = tanh(W_loc h_t),  M(p) = 1 - prod_t (1 - exp(-|p - l_t+1|^2 / 2 s_t+1^2)),
        y = sigmoid(b + a (2 M - 1)) x,  t = 1 ... T,  l_1 = 0

    A retina is three patches of 5 voxels per axis around a position: the narrowest has the voxels of x, the widest
    spans the grid, and the middle one is their geometric mean. A wider patch sees averages, as in the paper. The
    paper draws positions at random and learns them from reward. Here the gradient flows through the sampling, and M
    turns the chosen positions into weights of a skip. ``look`` alone finds positions for a finer network.

    Args:
        looks: number T of looks.
    """

    kind: str = "geometric"

    def __init__(self, place: Place, *, looks: int = 3) -> None:
        super().__init__()
        self.dims, self.looks = place.dims, looks
        dims = place.dims
        self.see = CONV[dims](place.channels, CHANNELS, kernel_size=1)
        self.what = nn.Linear(PATCHES * CHANNELS * EDGE**dims, STATE)
        self.where = nn.Linear(dims, STATE)
        self.join = nn.Linear(2 * STATE, STATE)
        self.remember = nn.Linear(STATE, STATE)
        self.take_in = nn.Linear(STATE, STATE)
        self.locate = nn.Linear(STATE, dims)
        self.measure = nn.Linear(STATE, dims)
        self.amount = nn.Parameter(torch.ones(()))
        self.bias = nn.Parameter(torch.tensor(OPEN_BIAS))

    def forward(self, x: Tensor, gate: Tensor | None = None, with_map: bool = False) -> Attended:
        """Weight ``x`` (B, C, *S); weights are (B, 1, *S) in (0, 1), highest at the chosen positions."""
        centres, extents = self.look(x)
        unseen = torch.ones((), device=x.device, dtype=centres.dtype)
        for t in range(self.looks):
            squared = squared_distance(centres[:, t], extents[:, t], x.shape[2:])
            unseen = unseen * (1 - torch.exp(-squared / 2))
        return apply_weights(x, torch.sigmoid(self.bias + self.amount * (1 - 2 * unseen))[:, None])

    def look(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Look T times at ``x`` (B, C, *S), first at its middle.

        Returns:
            Centres (B, T, dims), each chosen from all looks so far, and the estimated extents (B, T, dims) of the
            structures there. Both are in the order of the axes, in units of half the grid; centres are from -1 to 1.
        """
        seen = self.see(x)
        # Positions need more than the 8 bits of bfloat16; all other values have the type of the features.
        positions = torch.promote_types(seen.dtype, torch.float32)
        centre = torch.zeros(len(x), self.dims, device=x.device, dtype=positions)
        state = torch.zeros(len(x), STATE, device=x.device, dtype=seen.dtype)
        centres, extents = [], []
        for _ in range(self.looks):
            what, where = self.what(self.retina(seen, centre)), self.where(centre.to(seen.dtype))
            glimpse = F.relu(self.join(F.relu(torch.cat([what, where], dim=1))))
            state = F.relu(self.remember(state) + self.take_in(glimpse))
            centre = torch.tanh(self.locate(state).to(positions))
            centres.append(centre)
            extents.append(torch.sigmoid(self.measure(state).to(positions)))
        return torch.stack(centres, dim=1), torch.stack(extents, dim=1).clamp(min=0.05)

    def retina(self, seen: Tensor, centre: Tensor) -> Tensor:
        """Cut patches around a centre, (B, PATCHES * CHANNELS * EDGE**dims), the widest first.

        Each is cut from the grid averaged to its own voxels, so that it sees all that lies in it.
        """
        patches = []
        sizes = [int(n) if isinstance(n, Tensor) else n for n in seen.shape[2:]]  # tensors while TorchScript is traced
        for level in range(PATCHES):
            widths = [max(n / EDGE, 1.0) ** (-level / (PATCHES - 1)) for n in sizes]  # shares of the grid
            averaged = pool_to(seen, [min(round(EDGE / w), n) for w, n in zip(widths, sizes, strict=True)])
            extent = torch.tensor(widths, device=centre.device, dtype=centre.dtype).expand_as(centre)
            patches.append(cut_out(averaged, centre, extent, (EDGE,) * self.dims).flatten(1))
        return torch.cat(patches, dim=1)
