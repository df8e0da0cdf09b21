"""Cross-attention: queries from the skip, keys and values from the decoder's coarser signal."""

from torch import Tensor

from attention_unet.attention.base import Attended, Place, gate_or_error, start_at_zero
from attention_unet.attention.pairwise.positions import Positions
from attention_unet.attention.pairwise.scaled_dot_product import PairwiseAttention
from attention_unet.layers.dimensions import CONV


class EmbeddedAttention(PairwiseAttention):
    """Attention at half the channels, with a 1 x 1 convolution W back: y = x + W (V A^T); W starts at 0.

    Args:
        place: where it sits.
        source_channels: channels of the signal of keys and values.
        heads: groups of channels that attend separately.
        positions: what queries and keys know of where they are.
        scaled: divide the products by the square root of the channels of a head.
    """

    def __init__(
        self, place: Place, source_channels: int, heads: int, positions: Positions, scaled: bool = True
    ) -> None:
        width = max(place.channels // 2, 1)
        super().__init__(place, source_channels, width, heads, positions, scaled)
        self.project = CONV[place.dims](width, place.channels, kernel_size=1)
        start_at_zero(self.project)

    def forward(self, x: Tensor, gate: Tensor | None = None, with_map: bool = False) -> Attended:
        """Attend from ``x`` (B, C, *S) to its source; weights are the received map (B, 1, *Sk)."""
        gathered, received = self.gather(x, self.source(x, gate), with_map)
        return Attended((x + self.project(gathered)).to(x.dtype), received)


class CrossAttention(EmbeddedAttention):
    """Attention from a skip to the decoder (Vaswani et al., "Attention Is All You Need", NeurIPS 2017)::

        A = softmax_keys(Q^T K / sqrt(C / 2)),  y = x + W (V A^T)

    with Q from the skip x, and K and V from the gating signal, all of C / 2 channels. There are fewer keys than
    queries, because the signal is coarser. Another mechanism of this name multiplies: Petit et al. (U-Net Transformer,
    2021) take values from the skip, and gate it by the sigmoid of what was gathered.

    Args:
        place: where it sits.
        heads: groups of channels that attend separately; a divisor of C / 2.
        positions: what queries and keys know of where they are: "none", "sine" or "learned".
    """

    needs_gate = True

    def __init__(self, place: Place, *, heads: int = 1, positions: Positions = "none") -> None:
        super().__init__(place, place.gate_channels, heads, positions)

    def source(self, x: Tensor, gate: Tensor | None) -> Tensor:
        """Return the gating signal."""
        return gate_or_error(gate, "CrossAttention")
