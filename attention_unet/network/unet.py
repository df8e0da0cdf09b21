"""The way of the data through a U-Net with attention, whatever its parts are made of.

Levels count from 0, the finest. Tensors are (B, C, *S). Any input size works: strided convolutions round grids up,
and the decoder cuts its upsampled features to the grid of the skip.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.jit import is_scripting  # type: ignore[attr-defined]  # not in its __all__

from attention_unet.attention import Attention
from attention_unet.attention.channel.context_encoding import ContextEncoding


class UNet(nn.Module):
    """Encoder, attention at the bottleneck, decoder with attention on its skips, heads.

    Args:
        encoder: a block a level, finest first.
        bottleneck: attention after the coarsest block.
        decoder: levels that take (coarse, skip) and give features and the weights on the skip; coarse to fine.
        heads: of the decoder's last levels, coarse to fine; more than one for deep supervision.
        architecture: all it takes to build this network again, in plain values.
    """

    def __init__(
        self,
        encoder: Sequence[nn.Module],
        bottleneck: Attention,
        decoder: Sequence[nn.Module],
        heads: Sequence[nn.Module],
        architecture: dict[str, Any],
    ) -> None:
        super().__init__()
        self.encoder = nn.ModuleList(encoder)
        self.bottleneck = bottleneck
        self.decoder = nn.ModuleList(decoder)
        self.heads = nn.ModuleList(heads)
        self.architecture = architecture

    def forward(self, x: Tensor, return_maps: bool = False, return_presence: bool = False) -> Any:
        """Logits of an image.

        Args:
            x: image (B, in_channels, *S), any size.
            return_maps: also return the attention maps.
            return_presence: also return the logits of which classes are in the image.

        Returns:
            Logits (B, out_channels, *S). In training mode with deep supervision a list of them, finest first, each on
            the grid of its level. With ``return_maps`` a tuple of these and a dict from level to the weights applied to
            its skip; that of the coarsest level is the bottleneck's. With ``return_presence`` a last entry: a list of
            (B, out_channels), one for each mechanism that learns to tell which classes are there. These encode their
            features a second time for it.
        """
        logits, maps, skips = self.run(x)
        if is_scripting():  # a scripted function has one return type: the logits
            return logits[0]
        result: Any = logits if self.training and len(self.heads) > 1 else logits[0]
        if return_maps:
            result = (result, maps)
        if return_presence:
            told = [teller.presence(skips[level]) for level, teller in self.presence_tellers().items()]
            result = (*result, told) if return_maps else (result, told)
        return result

    def run(self, x: Tensor) -> tuple[list[Tensor], dict[int, Tensor], list[Tensor]]:
        """Logits of the supervised levels, finest first; attention weights by level; output of every encoder block."""
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
            if self.training or i == len(self.heads) - 1:
                logits.insert(0, head(decoded[unheaded + i]))
        return logits, maps, skips

    def attention_at(self, level: int) -> Attention:
        """The attention on the skip of a level; that of the bottleneck for the coarsest.

        Raises:
            ValueError: if there is no such level.
        """
        last = len(self.decoder)
        if level not in range(last + 1):
            raise ValueError(f"levels are 0 to {last}, got {level}")
        attention = self.bottleneck if level == last else self.decoder[last - 1 - level].attention
        if not isinstance(attention, Attention):
            raise TypeError(f"level {level} holds no attention")
        return attention

    def presence_tellers(self) -> dict[int, ContextEncoding]:
        """By level, the attention that learns which classes are in the image."""
        found = {level: self.attention_at(level) for level in range(len(self.encoder))}
        return {i: a for i, a in found.items() if isinstance(a, ContextEncoding) and a.classify is not None}
