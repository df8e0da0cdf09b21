"""Hard attention gate: each cell of the gate's grid is open or closed, drawn at random in training."""

import torch
from torch import Tensor
from torch.nn import functional as F

from attention_unet.attention.base import Place
from attention_unet.attention.spatial.additive_gate import AdditiveGate


class HardGate(AdditiveGate):
    """Hard attention (Xu et al., "Show, Attend and Tell", ICML 2015) with the additive gate of Oktay et al. 2018.

    In training every cell of the gate's grid is open with probability alpha. The gradient is that of a relaxed draw of
    temperature tau, straight through the threshold (Maddison et al., "The Concrete Distribution", and Jang et al.,
    "Categorical Reparameterization with Gumbel-Softmax", ICLR 2017)::

        l = logit(alpha) + log u - log(1 - u),  u ~ U(0, 1),  m = [l > 0]  (backward: sigmoid(l / tau))

    The mean of many draws is the soft gate on its coarse grid. In eval mode nothing is random: a cell is open if alpha
    is above 1/2.

    Args:
        place: where it sits; at the open start about 95 % of the cells are open in training.
        hidden: channels of the gate's sum; half of C if None.
        temperature: tau; a lower one gives a sharper and noisier gradient.
    """

    def __init__(self, place: Place, *, hidden: int | None = None, temperature: float = 2 / 3) -> None:
        super().__init__(place, hidden=hidden)
        self.temperature = temperature

    def weigh(self, logits: Tensor, like: Tensor) -> Tensor:
        """Return the mask of 0 and 1 on the grid of ``like``, from the logits of the cells."""
        if self.training:
            logits = logits + logistic_noise(logits)
        soft = torch.sigmoid(logits / self.temperature)
        # In this order the sum is exactly 0 or 1 in spite of rounding.
        mask = (logits > 0).to(soft.dtype) + (soft - soft.detach())
        return F.interpolate(mask, like.shape[2:], mode="nearest-exact")


def logistic_noise(like: Tensor) -> Tensor:
    """Return noise that makes [logit + noise > 0] a draw of probability sigmoid(logit)."""
    uniform = torch.rand_like(like, dtype=torch.float32).clamp(1e-6, 1 - 1e-6)
    return (uniform.log() - torch.log1p(-uniform)).to(like.dtype)
