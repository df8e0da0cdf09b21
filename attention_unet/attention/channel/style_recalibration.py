"""Style-based recalibration: the weight of a channel from its mean and standard deviation."""

import torch
from torch import Tensor, nn

from attention_unet.attention.base import OPEN_BIAS, Attended, Attention, Place, apply_weights
from attention_unet.layers.normalization import BatchNorm


class StyleRecalibration(Attention):
    """SRM (Lee, Kim, Nam, "SRM: A Style-based Recalibration Module for Convolutional Neural Networks", ICCV 2019)::

        z_c = w_c . [mean_n x_c; std_n x_c],  s_c = sigmoid(z_c + b_c),  y = s * x

    The published form normalises z over the batch. A batch of volumes has only one or two patches, too few for that.
    The normalisation is therefore left out of the open form.

    Args:
        place: where it sits; the "paper" start normalises z over the batch (by running statistics for a batch of one)
            and begins at weights of 0.5.
    """

    kind: str = "channel"

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.style = nn.Parameter(torch.zeros(place.channels, 2))
        self.norm = None if place.open else BatchNorm(place.channels)
        self.bias = nn.Parameter(torch.full((place.channels,), OPEN_BIAS)) if place.open else None

    def forward(self, x: Tensor, gate: Tensor | None = None, with_map: bool = False) -> Attended:
        """Weight ``x`` (B, C, *S); weights are (B, C, 1, ...) in (0, 1)."""
        precise = x.flatten(2).to(torch.promote_types(x.dtype, torch.float32))
        # The authors divide by N - 1, which is 0 on a grid of one voxel.
        variance, mean = torch.var_mean(precise, dim=2, correction=min(1, precise.shape[2] - 1))
        z = self.style[:, 0] * mean + self.style[:, 1] * (variance + 1e-5).sqrt()
        if self.norm is not None:
            z = self.norm(z.to(self.style.dtype))
        elif self.bias is not None:
            z = z + self.bias
        return apply_weights(x, torch.sigmoid(z))
