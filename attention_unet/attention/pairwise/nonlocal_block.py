"""Non-local block: self-attention at half the channels, with a convolution back."""

from attention_unet.attention.base import Place, start_at_zero
from attention_unet.attention.pairwise.positions import Positions
from attention_unet.attention.pairwise.scaled_dot_product import PairwiseAttention


class NonLocalBlock(PairwiseAttention):
    """Non-local block, embedded Gaussian form (Wang, Girshick, Gupta, He, "Non-local Neural Networks", CVPR 2018)::

        A = softmax_keys(theta^T phi / sqrt(C / 2)),  y = x + W (g A^T)

    with theta, phi and g of C / 2 channels. W starts at 0, the exact identity. In the paper a batch normalisation after
    W starts at 0 instead.

    Args:
        heads: groups of channels that attend separately; a divisor of C / 2.
        positions: what queries and keys know of where they are: "none", "sine" or "learned".
        scaled: divide the products as the authors' code does; the paper's equation does not.
    """

    def __init__(self, place: Place, *, heads: int = 1, positions: Positions = "none", scaled: bool = True) -> None:
        super().__init__(place, place.channels, max(place.channels // 2, 1), heads, positions, scaled)
        start_at_zero(self.project)
