"""The path of data through a U-Net with attention, for any kind of blocks.

Levels count from 0, the finest. Tensors are (B, C, *S). Any input size works: strided convolutions round grids up,
and the decoder cuts its upsampled features to the grid of the skip.
"""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

from attention_unet.attention import Attention
from attention_unet.attention.channel.context_encoding import ContextEncoding
from attention_unet.places import PLACES, level_of


class NetworkOutput(NamedTuple):
    """All that a network computes from an image.

    Attributes:
        logits: (B, out_channels, *S), finest first, each on the grid of its level; in eval mode only the finest.
        weights: in eval mode, attention weights by place: "inputs", "skip 1", "bottleneck", "encoder 1", "decoder 1"
            and so on; the number is the level. Places without weights are left out.
        presence: in training mode, logits (B, out_channels) of the presence of each class, one for each mechanism that
            learns it; otherwise empty.
    """

    logits: list[Tensor]
    weights: dict[str, Tensor]
    presence: list[Tensor]


# Of a decoder level: features (B, C, *S), attention weights on its skip, attention weights in its block.
Decoded = tuple[Tensor, Tensor | None, Tensor | None]


class UNet(nn.Module):
    """Attention on the image, encoder, attention at the bottleneck, decoder with attention on its skips, heads.

    ``encoder`` has a block per level, finest first; each returns ``Attended``. ``decoder`` has a ``DecoderLevel``, or
    the like, per level, coarse to fine; each returns ``Decoded``. ``heads`` are those of the decoder's last levels,
    coarse to fine; more than one for deep supervision.
    """

    def __init__(
        self,
        inputs: Attention,
        encoder: Sequence[nn.Module],
        bottleneck: Attention,
        decoder: Sequence[nn.Module],
        heads: Sequence[nn.Module],
    ) -> None:
        super().__init__()
        self.inputs = inputs
        self.encoder = nn.ModuleList(encoder)
        self.bottleneck = bottleneck
        self.decoder = nn.ModuleList(decoder)
        self.heads = nn.ModuleList(heads)

    def forward(self, x: Tensor, full_output: bool = False) -> Tensor | NetworkOutput:
        """Return the logits (B, out_channels, *S) of an image (B, in_channels, *S) of any size.

        With ``full_output`` also return, in training mode, the logits of every supervised level and the presence of
        classes; in eval mode, the attention weights. Weights that only serve display are computed for that alone.
        """
        supervised, with_maps = full_output and self.training, full_output and not self.training
        maps: dict[str, Tensor | None] = {}
        skips: list[Tensor] = []
        x, maps["inputs"] = self.inputs(x, None, with_maps)
        for i, block in enumerate(self.encoder):
            x, maps[f"encoder {i}"] = block(x, with_maps)
            skips.append(x)
        coarsest = len(skips) - 1
        x, maps["bottleneck"] = self.bottleneck(x, None, with_maps)
        decoded: list[Tensor] = []
        for i, level in enumerate(self.decoder):
            n = coarsest - 1 - i
            x, maps[f"skip {n}"], maps[f"decoder {n}"] = level(x, skips[n], with_maps)
            decoded.append(x)
        heads = [*self.heads] if supervised else [self.heads[-1]]
        logits = [head(each) for head, each in zip(heads, decoded[-len(heads) :], strict=True)][::-1]  # finest first
        if not full_output:
            return logits[0]
        weights = {place: each for place, each in maps.items() if each is not None} if with_maps else {}
        encodings = self.presence_encodings() if self.training else []  # only the loss needs them
        return NetworkOutput(logits, weights, [encoding.presence(skips[level]) for level, encoding in encodings])

    def attentions(self) -> dict[str, Attention]:
        """Return the attention of each place that has one, by the name of the place."""
        paths = {"inputs": "inputs", "bottleneck": "bottleneck"}
        paths |= {f"encoder {i}": f"encoder.{i}.attention" for i in range(len(self.encoder))}
        for i, n in enumerate(reversed(range(len(self.decoder)))):
            paths |= {f"skip {n}": f"decoder.{i}.attention", f"decoder {n}": f"decoder.{i}.block.attention"}
        found = {place: self.get_submodule(paths[place]) for place in PLACES if place in paths}
        return {place: a for place, a in found.items() if isinstance(a, Attention) and a.kind != "identity"}

    def presence_encodings(self) -> list[tuple[int, ContextEncoding]]:
        """Return the mechanisms that learn which classes are in the image, with the levels of their features."""
        found = []
        for place, attention in self.attentions().items():
            if isinstance(attention, ContextEncoding) and attention.classify is not None:
                found.append((level_of(place, len(self.encoder)), attention))
        return found
