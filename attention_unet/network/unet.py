"""The path of data through a U-Net with attention, for any kind of blocks.

Levels count from 0, the finest. Tensors are (B, C, *S). Any input size works: strided convolutions round grids up,
and the decoder cuts its upsampled features to the grid of the skip.
"""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn
from torch.jit import is_scripting  # type: ignore[attr-defined]  # not in its __all__

from attention_unet.attention import Attention
from attention_unet.attention.channel.context_encoding import ContextEncoding


class NetworkOutput(NamedTuple):
    """All that a network computes from an image.

    Attributes:
        logits: (B, out_channels, *S), finest first, each on the grid of its level; in eval mode only the finest.
        weights: attention weights on the skip, by level; the coarsest level has those of the bottleneck.
        presence: in training mode, logits (B, out_channels) of the presence of each class, one for each mechanism that
            learns it; otherwise empty.
    """

    logits: list[Tensor]
    weights: dict[int, Tensor]
    presence: list[Tensor]


class UNet(nn.Module):
    """Encoder, attention at the bottleneck, decoder with attention on its skips, heads.

    Args:
        encoder: one block per level, finest first.
        bottleneck: attention after the coarsest block.
        decoder: a ``DecoderLevel`` for each level, coarse to fine. It gates the skip by the coarser features before
            their upsampling, then joins and convolves both.
        heads: heads of the decoder's last levels, coarse to fine; more than one for deep supervision.
    """

    def __init__(
        self,
        encoder: Sequence[nn.Module],
        bottleneck: Attention,
        decoder: Sequence[nn.Module],
        heads: Sequence[nn.Module],
    ) -> None:
        super().__init__()
        self.encoder = nn.ModuleList(encoder)
        self.bottleneck = bottleneck
        self.decoder = nn.ModuleList(decoder)
        self.heads = nn.ModuleList(heads)

    def forward(self, x: Tensor, full_output: bool = False) -> Tensor | NetworkOutput:
        """Return the logits (B, out_channels, *S) of an image (B, in_channels, *S) of any size.

        With ``full_output`` also return the attention weights and, in training mode, the logits of every supervised
        level and the presence of classes.
        """
        logits, weights, skips = self.run(x, full_output and self.training)
        if is_scripting() or not full_output:  # a scripted network returns logits only
            return logits[0]
        encodings = self.presence_encodings() if self.training else {}  # only the loss needs them
        return NetworkOutput(logits, weights, [each.presence(skips[level]) for level, each in encodings.items()])

    def run(self, x: Tensor, supervised: bool) -> tuple[list[Tensor], dict[int, Tensor], list[Tensor]]:
        """Return logits of all supervised levels, or of the finest alone; attention weights; outputs of the encoder."""
        skips: list[Tensor] = []
        for block in self.encoder:
            x = block(x)
            skips.append(x)
        maps: dict[int, Tensor] = {}
        coarsest = len(skips) - 1
        x, weights = self.bottleneck(x)
        if weights is not None:
            maps[coarsest] = weights
        decoded: list[Tensor] = []
        for i, level in enumerate(self.decoder):
            x, weights = level(x, skips[coarsest - 1 - i])
            if weights is not None:
                maps[coarsest - 1 - i] = weights
            decoded.append(x)
        unheaded = len(decoded) - len(self.heads)
        logits: list[Tensor] = []
        for i, head in enumerate(self.heads):
            if supervised or i == len(self.heads) - 1:
                logits.insert(0, head(decoded[unheaded + i]))
        return logits, maps, skips

    def attention_at(self, level: int) -> Attention:
        """Return the attention on the skip of a level; for the coarsest level, that of the bottleneck.

        Raises:
            ValueError: if there is no such level.
        """
        last = len(self.decoder)
        if level not in range(last + 1):
            raise ValueError(f"levels are 0 to {last}, got {level}")
        attention = self.bottleneck if level == last else self.decoder[last - 1 - level].attention
        if not isinstance(attention, Attention):
            raise TypeError(f"level {level} has no attention")
        return attention

    def presence_encodings(self) -> dict[int, ContextEncoding]:
        """Return, by level, the mechanisms that learn which classes are in the image."""
        found = {level: self.attention_at(level) for level in range(len(self.encoder))}
        return {i: a for i, a in found.items() if isinstance(a, ContextEncoding) and a.classify is not None}
