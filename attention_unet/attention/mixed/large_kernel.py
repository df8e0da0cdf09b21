"""Large-kernel attention: weights from a wide neighbourhood, by cheap depth-wise convolutions."""

from torch import Tensor

from attention_unet.attention.base import Attended, Attention, Place, apply_weights, open_up
from attention_unet.layers.dimensions import CONV


class LargeKernelAttention(Attention):
    """Large-kernel attention (Guo et al., "Visual Attention Network", CVMJ 2023)::

        A = W (f_dilated(f_near(x))),  y = A * x

    with f depth-wise convolutions that together see about k voxels along each axis: one of kernel 2 d - 1, then one of
    kernel k / d whose taps are d voxels apart. No sigmoid bounds the weights, which may be negative. The open form
    starts W at weights of 1.

    Args:
        kernel: k.
        dilation: d.
    """

    kind: str = "mixed"

    def __init__(self, place: Place, *, kernel: int = 21, dilation: int = 3) -> None:
        super().__init__()
        conv, channels = CONV[place.dims], place.channels
        near, far = 2 * dilation - 1, -(-kernel // dilation)
        far += (far + 1) % 2
        reach = dilation * (far // 2)
        self.near = conv(channels, channels, kernel_size=near, padding=near // 2, groups=channels)
        self.far = conv(channels, channels, kernel_size=far, padding=reach, dilation=dilation, groups=channels)
        self.project = conv(channels, channels, kernel_size=1)
        if place.open:
            open_up(self.project, 1.0)

    def forward(self, x: Tensor, gate: Tensor | None = None, with_map: bool = False) -> Attended:
        """Weight ``x`` (B, C, *S); weights are (B, C, *S) of any value."""
        return apply_weights(x, self.project(self.far(self.near(x))))
