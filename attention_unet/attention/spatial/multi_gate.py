"""Several attention gates on one skip, so that each can attend to another structure."""

import torch
from torch import Tensor, nn

from attention_unet.attention.base import Attended, Attention, Place
from attention_unet.attention.spatial.additive_gate import AdditiveGate
from attention_unet.layers.dimensions import CONV


class MultiGate(Attention):
    """Multi-attention block of the code of Oktay et al. 2018 and Schlemper et al., MedIA 2019::

        y = W [alpha_1 * x; alpha_2 * x; ...] + b

    with each alpha_m from a separate additive gate, and W a 1 x 1 convolution back to C channels. The gates divide the
    hidden channels of a single gate between them. The authors' normalisation and ReLU after W are left out, so that it
    can start open: W starts as the mean of the gated copies.

    Args:
        place: where it sits; the "paper" start keeps torch's initial values of W, with gates as published.
        gates: number of gates; two as published.
    """

    kind: str = "spatial"
    needs_gate = True
    multiplies = False

    def __init__(self, place: Place, *, gates: int = 2) -> None:
        super().__init__()
        channels = place.channels
        hidden = max(channels // 2 // gates, 1)
        self.gates = nn.ModuleList(AdditiveGate(place, hidden=hidden) for _ in range(gates))
        self.combine = CONV[place.dims](gates * channels, channels, kernel_size=1)
        if place.open:
            mean = torch.eye(channels).repeat(1, gates) / gates
            self.combine.weight.data.copy_(mean.reshape(self.combine.weight.shape))
            nn.init.zeros_(self.combine.bias)  # type: ignore[arg-type]  # the bias exists

    def forward(self, x: Tensor, gate: Tensor | None = None, with_map: bool = False) -> Attended:
        """Gate ``x`` (B, C, *S) by ``gate`` (B, Cg, *Sg); weights are the mean of the gates' maps, (B, 1, *S)."""
        parts = [attend(x, gate) for attend in self.gates]
        features = self.combine(torch.cat([part.features for part in parts], dim=1)).to(x.dtype)
        return Attended(features, torch.stack([part.weights for part in parts if part.weights is not None]).mean(dim=0))
