"""Additive attention gate: the decoder's coarser signal decides where a skip passes."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attention_unet.attention.base import Attended, Attention, Place, apply_weights, gate_or_error, open_up
from attention_unet.layers.dimensions import CONV, crop_to, interpolate_to, per_axis


class AdditiveGate(Attention):
    """Grid attention (Oktay et al., "Attention U-Net: Learning Where to Look for the Pancreas", MIDL 2018).

    For every voxel i of the gate's grid, with x brought to that grid by a strided convolution::

        alpha_i = sigmoid(psi^T relu(W_x^T x_i + W_g^T g_i + b_g) + b_psi)

    alpha is resampled linearly to the grid of x and multiplies x. As in the authors' code, W_x is a convolution whose
    kernel equals its stride. Unlike there, no convolution or normalisation follows the product: alpha keeps its scale,
    and maps can be compared across levels.

    Args:
        place: where it sits; the "paper" start keeps b_psi at 0.
        hidden: channels of the sum; half of C if None.
    """

    kind: str = "spatial"
    needs_gate = True

    def __init__(self, place: Place, *, hidden: int | None = None) -> None:
        super().__init__()
        dims, hidden = place.dims, hidden or max(place.channels // 2, 1)
        self.stride = per_axis(place.stride, dims)
        self.project_x = CONV[dims](place.channels, hidden, kernel_size=self.stride, stride=self.stride, bias=False)
        self.project_gate = CONV[dims](place.gate_channels, hidden, kernel_size=1)
        self.psi = CONV[dims](hidden, 1, kernel_size=1)
        for conv in (self.project_x, self.project_gate):
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
        nn.init.zeros_(self.project_gate.bias)  # type: ignore[arg-type]  # the bias exists
        if place.open:
            open_up(self.psi)
        else:
            nn.init.normal_(self.psi.weight, std=hidden**-0.5)
            nn.init.zeros_(self.psi.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, gate: Tensor | None = None, with_map: bool = False) -> Attended:
        """Gate the skip ``x`` (B, C, *S) by ``gate`` (B, Cg, *Sg); weights are (B, 1, *S) in (0, 1)."""
        padded = self.pad_to_stride(x)
        logits = self.logits(padded, gate_or_error(gate, "the gate"))
        return apply_weights(x, crop_to(self.weigh(logits, padded), x))

    def weigh(self, logits: Tensor, like: Tensor) -> Tensor:
        """Return the weights on the grid of ``like``, from the logits on the gate's grid."""
        return interpolate_to(torch.sigmoid(logits), like.shape[2:])

    def logits(self, x: Tensor, gate: Tensor) -> Tensor:
        """Return the input of the sigmoid on the gate's grid, from ``x`` padded to the stride."""
        projected_x = self.project_x(x)
        projected_gate = self.project_gate(gate)
        grid = projected_x.shape[2:]
        if projected_gate.shape[2:] != grid:
            projected_gate = interpolate_to(projected_gate, grid)
        return self.psi(F.relu(projected_x + projected_gate))

    def pad_to_stride(self, x: Tensor) -> Tensor:
        """Repeat the last voxels until every axis is a multiple of the stride, so that odd grids lose no voxel."""
        padding: list[int] = []
        for axis in range(len(self.stride) - 1, -1, -1):
            step = self.stride[axis]
            padding += [0, (step - x.shape[2 + axis] % step) % step]
        return F.pad(x, padding, mode="replicate") if sum(padding) > 0 else x
