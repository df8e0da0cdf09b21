"""Dynamic convolution: kernels that are mixed anew for every image."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attention_unet.attention.base import Attended, Attention, Place, broadcast_channels
from attention_unet.layers.dimensions import CONV, middle_of_kernel


class DynamicConvolution(Attention):
    """Dynamic convolution (Chen et al., "Dynamic Convolution: Attention over Convolution Kernels", CVPR 2020)::

        pi = softmax_k((A relu(W mean_n x)) / tau),  y = (sum_k pi_k W_k) * x + sum_k pi_k b_k

    with W_k kernels of 3 voxels per axis from C to C channels: one convolution, mixed anew for every image. W leads to
    C / 4 channels. The kernels start as the identity and small noise, and so does y; as published at random.

    Args:
        place: where it sits; the "paper" start draws kernels as torch does.
        kernels: number of kernels.
        reduction: C over the hidden channels.
        temperature: tau; a high one keeps all kernels learning, and is lowered to 1 in the paper while training begins.
    """

    kind: str = "kernel"
    multiplies = False

    def __init__(self, place: Place, *, kernels: int = 4, reduction: int = 4, temperature: float = 30.0) -> None:
        super().__init__()
        channels, self.dims, self.temperature = place.channels, place.dims, temperature
        layers = [CONV[place.dims](channels, channels, kernel_size=3) for _ in range(kernels)]
        if place.open:
            for layer in layers:
                noise = 0.01 * torch.randn_like(layer.weight) * layer.weight[0].numel() ** -0.5
                nn.init.dirac_(layer.weight)
                layer.weight.data.add_(noise)
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]  # the bias exists
        self.weight = nn.Parameter(torch.stack([layer.weight.detach() for layer in layers]))
        self.bias = nn.Parameter(torch.stack([layer.bias.detach() for layer in layers]))  # type: ignore[union-attr]
        hidden = max(channels // reduction, 1)
        self.reduce = nn.Linear(channels, hidden)
        self.choose = nn.Linear(hidden, kernels)

    def forward(self, x: Tensor, gate: Tensor | None = None, with_map: bool = False) -> Attended:
        """Convolve ``x`` (B, C, *S); weights (B, kernels, 1, ...) are the shares of the kernels."""
        logits = self.choose(F.relu(self.reduce(x.flatten(2).mean(dim=2))))
        shares = torch.softmax(logits / self.temperature, dim=1)
        weight = torch.einsum("bk,koi...->boi...", shares, self.weight.to(shares.dtype))
        bias = shares @ self.bias.to(shares.dtype)
        convolve = F.conv2d if self.dims == 2 else F.conv3d
        weight, padding = middle_of_kernel(x, weight.flatten(0, 1).to(x.dtype), (1,) * self.dims)
        # One convolution with a group for each image.
        joined = convolve(
            x.reshape(1, -1, *x.shape[2:]), weight, bias.flatten().to(x.dtype), padding=padding, groups=len(x)
        )
        return Attended(joined.reshape(x.shape).to(x.dtype), broadcast_channels(shares, x))
