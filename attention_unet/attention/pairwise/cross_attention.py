"""Cross-attention: queries from the skip, keys and values from the decoder's coarser signal."""

from torch import Tensor, nn

from attention_unet.attention.base import Attended, gate_or_error
from attention_unet.attention.pairwise.scaled_dot_product import PairwiseAttention
from attention_unet.layers.dimensions import CONV


class CrossAttention(PairwiseAttention):
    """Attention from a skip to the decoder (Vaswani et al., "Attention Is All You Need", NeurIPS 2017)::

        A = softmax_keys(Q^T K / sqrt(C / 2)),  y = x + W (V A^T)

    with Q from the skip x, and K and V from the gating signal, all of C / 2 channels. There are fewer keys than
    queries, because the signal is coarser. W starts at 0: the exact identity.

    Args:
        dims: 2 or 3 spatial dimensions.
        channels: channels C of the skip x.
        gate_channels: channels Cg of the gating signal.
    """

    needs_gate = True

    def __init__(self, dims: int, channels: int, gate_channels: int) -> None:
        width = max(channels // 2, 1)
        super().__init__(dims, channels, gate_channels, width, width)
        self.project = CONV[dims](width, channels, kernel_size=1)
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)  # type: ignore[arg-type]  # the bias exists

    def forward(self, x: Tensor, gate: Tensor | None = None) -> Attended:
        """Attend from ``x`` (B, C, *S) to ``gate`` (B, Cg, *Sg); weights are the received map (B, 1, *Sk).

        Raises:
            ValueError: if no gating signal is given.
        """
        gathered, received = self.gather(x, self.source(x, gate))
        return Attended((x + self.project(gathered)).to(x.dtype), received.to(x.dtype))

    def source(self, x: Tensor, gate: Tensor | None) -> Tensor:
        """Return the gating signal."""
        return gate_or_error(gate, "CrossAttention")
