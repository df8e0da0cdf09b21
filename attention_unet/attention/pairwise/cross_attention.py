"""Cross-attention: queries from the skip, keys and values from the decoder's coarser signal."""

from torch import Tensor

from attention_unet.attention.base import Place, gate_or_error, start_at_zero
from attention_unet.attention.pairwise.positions import Positions
from attention_unet.attention.pairwise.scaled_dot_product import PairwiseAttention


class CrossAttention(PairwiseAttention):
    """Attention from a skip to the decoder (Vaswani et al., "Attention Is All You Need", NeurIPS 2017)::

        A = softmax_keys(Q^T K / sqrt(C / 2)),  y = x + W (V A^T)

    with Q from the skip x, and K and V from the gating signal, all of C / 2 channels. W starts at 0: the exact
    identity. There are fewer keys than queries, because the signal is coarser. Another mechanism of this name
    multiplies: Petit et al. (U-Net Transformer, 2021) take values from the skip, and gate it by the sigmoid of what was
    gathered.

    Args:
        heads: groups of channels that attend separately; a divisor of C / 2.
        positions: what queries and keys know of where they are: "none", "sine" or "learned".
    """

    needs_gate = True

    def __init__(self, place: Place, *, heads: int = 1, positions: Positions = "none") -> None:
        super().__init__(place, place.gate_channels, max(place.channels // 2, 1), heads, positions, scaled=True)
        start_at_zero(self.project)

    def source(self, x: Tensor, gate: Tensor | None) -> Tensor:
        """Return the gating signal."""
        return gate_or_error(gate, "CrossAttention")
