"""Context encoding: channel weights from the learned codewords that an image consists of."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attention_unet.attention.base import Attended, Attention, Place, apply_weights, open_up
from attention_unet.layers.dimensions import CONV
from attention_unet.layers.normalization import EightChannelNorm, GroupNorm


class ContextEncoding(Attention):
    """Context encoding (Zhang et al., "Context Encoding for Semantic Segmentation", CVPR 2018)::

        u = relu(norm(W1 x)),  a_nk = softmax_k(-s_k ||u_n - d_k||^2),  e_k = sum_n a_nk (u_n - d_k),
        e = mean_k relu(norm(e_k)),  gamma = sigmoid(W2 e + b),  y = gamma * x

    There are K codewords d_k. The paper has the sum over k, as a factor that W2 absorbs; u is that of the authors'
    code. u is normalised in groups of eight channels, which keeps how bright a channel is relative to the others, and
    each e_k over its channels; the authors normalise over the batch. With the classes of its place a second layer
    predicts from e which of them are in the patch. Learning that (the paper's SE-loss) makes e represent the whole
    patch.

    Args:
        place: where it sits; the "paper" start keeps torch's initial values of W2.
        codewords: number K of codewords.
    """

    kind: str = "channel"

    def __init__(self, place: Place, *, codewords: int = 32) -> None:
        super().__init__()
        channels = place.channels
        self.reduce = CONV[place.dims](channels, channels, kernel_size=1, bias=False)
        self.reduce_norm = EightChannelNorm(channels)
        bound = (codewords * channels) ** -0.5
        self.codewords = nn.Parameter(torch.empty(codewords, channels).uniform_(-bound, bound))
        self.scales = nn.Parameter(torch.empty(codewords).uniform_(0, 1))
        self.norm = GroupNorm(codewords, codewords)
        self.project = nn.Linear(channels, channels)
        if place.open:
            open_up(self.project)
        self.classify = nn.Linear(channels, place.classes) if place.classes else None

    def forward(self, x: Tensor, gate: Tensor | None = None, with_map: bool = False) -> Attended:
        """Weight ``x`` (B, C, *S); weights are (B, C, 1, ...) in (0, 1)."""
        return apply_weights(x, torch.sigmoid(self.project(self.encode(x))))

    def presence(self, x: Tensor) -> Tensor:
        """Return logits (B, classes) of the presence of each class in ``x`` (B, C, *S), if built with classes."""
        if self.classify is None:
            raise ValueError("built without classes: it predicts no presence")
        return self.classify(self.encode(x))

    def assignment(self, x: Tensor) -> Tensor:
        """Return the share (B, K, *S) of each codeword in each voxel; the shares sum to 1 over K."""
        return self._assign(self._embed(x)).reshape(len(x), -1, *x.shape[2:])

    def encode(self, x: Tensor) -> Tensor:
        """Return the encoding e (B, C) of ``x`` (B, C, *S)."""
        voxels = self._embed(x)
        share = self._assign(voxels)
        # These products avoid the N x K x C array of all residuals.
        gathered = torch.einsum("bkn,bcn->bkc", share, voxels)
        residual = gathered - share.sum(dim=2)[..., None] * self.codewords
        return F.relu(self.norm(residual)).mean(dim=1)

    def _embed(self, x: Tensor) -> Tensor:
        """Return the features u, (B, C, N)."""
        return F.relu(self.reduce_norm(self.reduce(x))).flatten(2)

    def _assign(self, voxels: Tensor) -> Tensor:
        """Return the shares (B, K, N) of codewords in voxels (B, C, N), by ||u||^2 - 2 u d + ||d||^2."""
        distance = (
            voxels.square().sum(dim=1)[:, None]
            - 2 * torch.einsum("kc,bcn->bkn", self.codewords, voxels)
            + self.codewords.square().sum(dim=1)[None, :, None]
        )
        return torch.softmax(-self.scales[:, None] * distance, dim=1)
