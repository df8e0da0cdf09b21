"""Attention gate of most public code: on the grid of the skip, with batch normalisation."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attention_unet.attention.base import OPEN_BIAS, OPEN_STD, Attended, Attention, Place, apply_weights, gate_or_error
from attention_unet.layers.dimensions import CONV, interpolate_to
from attention_unet.layers.normalization import BatchNorm


class LeeGate(Attention):
    """Additive gate of Lee's widely copied code and of MONAI, which differs from Oktay et al. 2018::

        alpha = sigmoid(bn(psi^T relu(bn(W_x^T x + b_x) + bn(W_g^T g + b_g)) + b_psi))

    x keeps its grid, the signal is on the same grid or is resampled to it, and everything is normalised over the batch.
    b_psi therefore has no effect, and with the published start alpha spreads around 0.5 whatever the features are.

    Args:
        hidden: channels of the sum; half of C if None.
    """

    kind: str = "spatial"
    needs_gate = True

    def __init__(self, place: Place, *, hidden: int | None = None) -> None:
        super().__init__()
        dims, hidden = place.dims, hidden or max(place.channels // 2, 1)
        self.project_x = nn.Sequential(CONV[dims](place.channels, hidden, kernel_size=1), BatchNorm(hidden))
        self.project_gate = nn.Sequential(CONV[dims](place.gate_channels, hidden, kernel_size=1), BatchNorm(hidden))
        norm = BatchNorm(1)
        self.psi = nn.Sequential(CONV[dims](hidden, 1, kernel_size=1), norm)
        if place.open:
            nn.init.constant_(norm.weight, 10 * OPEN_STD)
            nn.init.constant_(norm.bias, OPEN_BIAS)

    def forward(self, x: Tensor, gate: Tensor | None = None, with_map: bool = False) -> Attended:
        """Gate the skip ``x`` (B, C, *S) by ``gate`` (B, Cg, *Sg); weights are (B, 1, *S) in (0, 1)."""
        signal = self.project_gate(gate_or_error(gate, "LeeGate"))
        if signal.shape[2:] != x.shape[2:]:
            signal = interpolate_to(signal, x.shape[2:])
        return apply_weights(x, torch.sigmoid(self.psi(F.relu(self.project_x(x) + signal))))
