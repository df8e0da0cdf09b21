"""Non-local block: self-attention at half the channels, with a convolution back."""

from torch import Tensor

from attention_unet.attention.pairwise.cross_attention import CrossAttention


class NonLocalBlock(CrossAttention):
    """Non-local block, embedded Gaussian form (Wang, Girshick, Gupta, He, "Non-local Neural Networks", CVPR 2018)::

        A = softmax_keys(theta^T phi / sqrt(C / 2)),  y = x + W (g A^T)

    with theta, phi and g of C / 2 channels: cross-attention from x to itself. W starts at 0, the exact identity. In the
    paper a batch normalisation after W starts at 0 instead. The scale is that of the authors' code; the paper's
    equation has none.

    Args:
        dims: 2 or 3 spatial dimensions.
        channels: channels C of x.
    """

    needs_gate = False

    def __init__(self, dims: int, channels: int) -> None:
        super().__init__(dims, channels, channels)

    def source(self, x: Tensor, gate: Tensor | None) -> Tensor:
        """Return the skip itself."""
        return x
