"""Context encoding: channels weighted by which of some learned codewords an image is made of."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attention_unet.attention.base import OPEN_BIAS, OPEN_STD, Attended, Attention, Init, over_grid
from attention_unet.layers.dimensions import CONV
from attention_unet.layers.normalization import InstanceNorm


class ContextEncoding(Attention):
    """Zhang et al., "Context Encoding for Semantic Segmentation", CVPR 2018::

        u = relu(norm(W1 x)),  a_nk = softmax_k(-s_k ||u_n - d_k||^2),  e_k = mean_n a_nk (u_n - d_k),
        e = mean_k relu(norm(e_k)),  gamma = sigmoid(W2 e + b),  y = gamma * x

    The paper has sums for the two means; norm and W2 take these factors in. u is that of the authors' code. It is
    normalised by instance and each e_k over its channels, where they normalise over the batch. With ``classes`` a
    second layer tells from e which classes are in the patch: learning that (the paper's SE-loss) makes e see the whole
    of it.

    Args:
        dims: 2 or 3 spatial dimensions.
        channels: channels C of x.
        codewords: number K.
        classes: number of classes to tell the presence of; none if None.
        init: "paper" leaves torch's initial values of W2; "open" starts at weights of about 0.95.
    """

    kind: str = "channel"

    def __init__(
        self, dims: int, channels: int, codewords: int = 32, classes: int | None = None, init: Init = "open"
    ) -> None:
        super().__init__()
        self.reduce = CONV[dims](channels, channels, kernel_size=1, bias=False)
        self.reduce_norm = InstanceNorm(channels)
        bound = (codewords * channels) ** -0.5
        self.codewords = nn.Parameter(torch.empty(codewords, channels).uniform_(-bound, bound))
        self.scales = nn.Parameter(torch.empty(codewords).uniform_(0, 1))
        self.norm = nn.GroupNorm(codewords, codewords)
        self.project = nn.Linear(channels, channels)
        if init == "open":
            nn.init.normal_(self.project.weight, std=OPEN_STD)
            nn.init.constant_(self.project.bias, OPEN_BIAS)
        self.classify = nn.Linear(channels, classes) if classes else None

    def forward(self, x: Tensor, gate: Tensor | None = None) -> Attended:
        """Weight ``x`` (B, C, *S); weights are (B, C, 1, ...) in (0, 1)."""
        weights = over_grid(torch.sigmoid(self.project(self.encode(x))), x)
        return Attended(x * weights, weights)

    def presence(self, x: Tensor) -> Tensor | None:
        """Logits (B, classes) of which classes are in ``x`` (B, C, *S); None if it does not tell classes."""
        return self.classify(self.encode(x)) if self.classify is not None else None

    def assignment(self, x: Tensor) -> Tensor:
        """Share (B, K, *S) of each codeword in each voxel; they sum to 1 over K."""
        return self._assign(self._embed(x)).reshape(len(x), -1, *x.shape[2:])

    def encode(self, x: Tensor) -> Tensor:
        """The encoding e (B, C) of ``x`` (B, C, *S)."""
        voxels = self._embed(x)
        share = self._assign(voxels)
        # Without the N x K x C array of all residuals.
        gathered = torch.einsum("bkn,bcn->bkc", share, voxels) / share.shape[2]
        residual = gathered - share.mean(dim=2)[..., None] * self.codewords
        return F.relu(self.norm(residual)).mean(dim=1)

    def _embed(self, x: Tensor) -> Tensor:
        """The features u, (B, C, N)."""
        return F.relu(self.reduce_norm(self.reduce(x))).flatten(2)

    def _assign(self, voxels: Tensor) -> Tensor:
        """Shares (B, K, N) of codewords in voxels (B, C, N), by ||u||^2 - 2 u d + ||d||^2."""
        distance = (
            voxels.square().sum(dim=1)[:, None]
            - 2 * torch.einsum("kc,bcn->bkn", self.codewords, voxels)
            + self.codewords.square().sum(dim=1)[None, :, None]
        )
        return torch.softmax(-self.scales[:, None] * distance, dim=1)
