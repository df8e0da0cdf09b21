"""Two attention gates on one skip, so that each can attend to another structure."""

import torch
from torch import Tensor, nn

from attention_unet.attention.base import Attended, Attention, Init
from attention_unet.attention.spatial.additive_gate import AdditiveGate
from attention_unet.layers.dimensions import CONV

GATES = 2


class MultiGate(Attention):
    """Multi-attention block of the code of Oktay et al. 2018 and Schlemper et al., MedIA 2019::

        y = W [alpha_1 * x; alpha_2 * x] + b

    with each alpha_m from a separate additive gate, and W a 1 x 1 convolution back to C channels. The gates divide the
    hidden channels of a single gate between them. The authors' normalisation and ReLU after W are left out, so that it
    can start open: W starts as the mean of the gated copies.

    Args:
        dims: 2 or 3 spatial dimensions.
        channels: channels C of the skip x.
        gate_channels: channels Cg of the gating signal.
        stride: step from the grid of x to the gate's coarser grid, for each axis.
        init: "paper" keeps torch's initial values of W, with gates as published; "open" starts near the identity.
    """

    kind: str = "spatial"
    needs_gate = True
    multiplies = False

    def __init__(
        self,
        dims: int,
        channels: int,
        gate_channels: int,
        stride: int | tuple[int, ...] = 2,
        init: Init = "open",
    ) -> None:
        super().__init__()
        hidden = max(channels // 2 // GATES, 1)
        self.gates = nn.ModuleList(
            AdditiveGate(dims, channels, gate_channels, stride, hidden, init) for _ in range(GATES)
        )
        self.combine = CONV[dims](GATES * channels, channels, kernel_size=1)
        if init == "open":
            mean = torch.eye(channels).repeat(1, GATES) / GATES
            self.combine.weight.data.copy_(mean.reshape(self.combine.weight.shape))
            nn.init.zeros_(self.combine.bias)  # type: ignore[arg-type]  # the bias exists

    def forward(self, x: Tensor, gate: Tensor | None = None) -> Attended:
        """Gate ``x`` (B, C, *S) by ``gate`` (B, Cg, *Sg); weights are the mean of the gates' maps, (B, 1, *S)."""
        parts = self.attend_each(x, gate)
        features = self.combine(torch.cat([part.features for part in parts], dim=1)).to(x.dtype)
        return Attended(features, torch.stack([part.weights for part in parts if part.weights is not None]).mean(dim=0))

    def attend_each(self, x: Tensor, gate: Tensor | None = None) -> list[Attended]:
        """Return the result of each gate alone on ``x``.

        Raises:
            ValueError: if no gating signal is given.
        """
        return [attend(x, gate) for attend in self.gates]
