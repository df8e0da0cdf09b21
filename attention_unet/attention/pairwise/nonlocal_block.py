"""Non-local block: self-attention at half the channels, with a convolution back."""

from torch import Tensor, nn

from attention_unet.attention.base import Attended
from attention_unet.attention.pairwise.scaled_dot_product import PairwiseAttention
from attention_unet.dimensions import CONV


class NonLocalBlock(PairwiseAttention):
    """Wang, Girshick, Gupta, He, "Non-local Neural Networks", CVPR 2018, embedded Gaussian form::

        A = softmax_keys(theta^T phi / sqrt(C / 2)),  y = x + W (g A^T)

    with theta, phi and g of C / 2 channels. W starts at 0, the exact identity; the paper has a normalisation over the
    batch after it start at 0 instead. The scale is that of the authors' code;
    the paper's equation has none.

    Args:
        dims: 2 or 3 spatial dimensions.
        channels: channels C of x.
    """

    def __init__(self, dims: int, channels: int) -> None:
        width = max(channels // 2, 1)
        super().__init__(dims, channels, channels, width, width)
        self.project = CONV[dims](width, channels, kernel_size=1)
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)  # type: ignore[arg-type]  # the bias is there

    def forward(self, x: Tensor, gate: Tensor | None = None) -> Attended:
        """Attend from ``x`` (B, C, *S) to itself; weights are the received map (B, 1, *Sk)."""
        gathered, received = self.gather(x, x)
        return Attended((x + self.project(gathered)).to(x.dtype), received.to(x.dtype))

    def source(self, x: Tensor, gate: Tensor | None) -> Tensor:
        """The skip itself."""
        return x
