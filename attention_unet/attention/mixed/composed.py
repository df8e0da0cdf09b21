"""Published compositions of channel and spatial attention."""

from typing import Literal

from attention_unet.attention.base import Place
from attention_unet.attention.channel.squeeze_excitation import MeanMaximumExcitation, SqueezeExcitation
from attention_unet.attention.mixed.mask_branch import MaskBranch
from attention_unet.attention.spatial.channel_squeeze import ChannelSqueeze
from attention_unet.attention.spatial.pooled_spatial import PooledSpatialAttention
from attention_unet.attention.wrappers import Parallel, Residual, Sequential


class CBAM(Sequential):
    """CBAM (Woo et al., "CBAM: Convolutional Block Attention Module", ECCV 2018): its channel part, then its spatial
    part.

    Args:
        reduction: as for ``MeanMaximumExcitation``.
        kernel: as for ``PooledSpatialAttention``.
    """

    kind: str = "mixed"

    def __init__(self, place: Place, *, reduction: int = 16, kernel: int | None = None) -> None:
        super().__init__(
            [MeanMaximumExcitation(place, reduction=reduction), PooledSpatialAttention(place, kernel=kernel)]
        )


class ConcurrentExcitation(Parallel):
    """scSE (Roy, Navab, Wachinger): ``se`` and ``sse`` beside each other, joined by the sum of both results, or by the
    larger of each feature.

    The sum is that of MICCAI 2018 ("Concurrent Spatial and Channel 'Squeeze & Excitation' in Fully Convolutional
    Networks"), the larger that of TMI 2019 and of the authors' code.

    Args:
        reduction: as for ``SqueezeExcitation``; 2 as published.
        combine: "max" or "add".
    """

    kind: str = "mixed"

    def __init__(self, place: Place, *, reduction: int = 2, combine: Literal["max", "add"] = "max") -> None:
        super().__init__([SqueezeExcitation(place, reduction=reduction), ChannelSqueeze(place)], combine=combine)


class ResidualMask(Residual):
    """Module of the residual attention network (Wang et al., CVPR 2017): (1 + M) x, with M of ``MaskBranch``."""

    kind: str = "mixed"

    def __init__(self, place: Place) -> None:
        super().__init__(MaskBranch(place))
