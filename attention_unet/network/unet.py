"""The path of data through a U-Net with attention, for any kind of blocks.

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
        encoder: one block per level, finest first.
        bottleneck: attention after the coarsest block.
        decoder: levels that take (coarse, skip) and return features and the weights on the skip; coarse to fine.
        heads: heads of the decoder's last levels, coarse to fine; more than one for deep supervision.
        architecture: arguments to build this network again, as plain values.
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
        """Predict the logits of an image.

        Args:
            x: image (B, in_channels, *S), any size.
            return_maps: also return the attention maps.
            return_presence: also return logits for the presence of each class in the image.

        Returns:
            Logits (B, out_channels, *S); in training mode with deep supervision a list, finest first, each on the grid
            of its level. With ``return_maps`` a tuple of the logits and a dict from level to the weights on its skip;
            the coarsest level has those of the bottleneck. With ``return_presence`` a further entry: a list of
            (B, out_channels), one for each mechanism that learns the presence of classes.
        """
        logits, maps, skips = self.run(x)
        if is_scripting():  # a scripted function has one return type: the logits
            return logits[0]
        result: Any = logits if self.training and len(self.heads) > 1 else logits[0]
        if return_maps:
            result = (result, maps)
        if return_presence:
            presence = [encoding.presence(skips[level]) for level, encoding in self.presence_encodings().items()]
            result = (*result, presence) if return_maps else (result, presence)
        return result

    def run(self, x: Tensor) -> tuple[list[Tensor], dict[int, Tensor], list[Tensor]]:
        """Return logits of the supervised levels, finest first, attention weights by level, and encoder outputs."""
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
