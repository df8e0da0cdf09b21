"""Channel weights of a skip from the means of the skip and of the decoder."""

import torch
from torch import Tensor, nn

from attention_unet.attention.base import Attended, Attention, Place, apply_weights, gate_or_error, open_up


class DecoderChannelAttention(Attention):
    """Channel-wise cross-attention of UCTransNet (Wang, Cao, Wang, Zaiane, AAAI 2022)::

        s = sigmoid((W1 mean_n x + b1 + W2 mean_n g + b2) / 2),  y = s * x

    so that the decoder says which channels of the skip it needs. A ReLU follows in the authors' code; features of this
    network may be negative, and none follows here.
    """

    kind: str = "channel"
    needs_gate = True

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.from_skip = nn.Linear(place.channels, place.channels)
        self.from_gate = nn.Linear(place.gate_channels, place.channels)
        if place.open:
            for layer in (self.from_skip, self.from_gate):
                open_up(layer)

    def forward(self, x: Tensor, gate: Tensor | None = None, with_map: bool = False) -> Attended:
        """Weight ``x`` (B, C, *S) by ``gate`` (B, Cg, *Sg); weights are (B, C, 1, ...) in (0, 1)."""
        signal = gate_or_error(gate, "DecoderChannelAttention")
        logits = self.from_skip(x.flatten(2).mean(dim=2)) + self.from_gate(signal.flatten(2).mean(dim=2))
        return apply_weights(x, torch.sigmoid(logits / 2))
