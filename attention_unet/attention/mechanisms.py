"""The mechanisms by name: those of this package, and those that other installed packages add."""

import difflib
from functools import cache
from importlib.metadata import EntryPoint, entry_points

from attention_unet.attention.base import KINDS, Attention, Identity
from attention_unet.attention.channel.channel_self_attention import ChannelSelfAttention
from attention_unet.attention.channel.context_encoding import ContextEncoding
from attention_unet.attention.channel.decoder_channel import DecoderChannelAttention
from attention_unet.attention.channel.efficient_channel import EfficientChannelAttention
from attention_unet.attention.channel.frequency import FrequencyChannelAttention
from attention_unet.attention.channel.gated_channel import GatedChannelTransformation
from attention_unet.attention.channel.gaussian_context import GaussianContextTransformer
from attention_unet.attention.channel.second_order import SecondOrderPooling
from attention_unet.attention.channel.squeeze_excitation import MeanMaximumExcitation, SqueezeExcitation
from attention_unet.attention.channel.style_recalibration import StyleRecalibration
from attention_unet.attention.controls import Displaced, Template
from attention_unet.attention.geometric.glimpse import Glimpse
from attention_unet.attention.geometric.spatial_transformer import SpatialTransformer
from attention_unet.attention.kernel.dynamic_convolution import DynamicConvolution
from attention_unet.attention.kernel.selective_kernel import SelectiveKernel
from attention_unet.attention.mixed.bilinear import BilinearAttention
from attention_unet.attention.mixed.bottleneck_attention import BottleneckAttention
from attention_unet.attention.mixed.composed import CBAM, ConcurrentExcitation, ResidualMask
from attention_unet.attention.mixed.coordinate import CoordinateAttention
from attention_unet.attention.mixed.large_kernel import LargeKernelAttention
from attention_unet.attention.mixed.polarized import PolarizedAttention
from attention_unet.attention.mixed.project_excite import ProjectExcite
from attention_unet.attention.mixed.simam import SimAM
from attention_unet.attention.mixed.triplet import TripletAttention
from attention_unet.attention.options import options_of
from attention_unet.attention.pairwise.axial import AxialAttention
from attention_unet.attention.pairwise.deformable import DeformableAttention
from attention_unet.attention.pairwise.efficient import EfficientAttention
from attention_unet.attention.pairwise.external import ExternalAttention
from attention_unet.attention.pairwise.paired import PairedAttention
from attention_unet.attention.pairwise.scaled_dot_product import CrossAttention, NonLocalBlock, SelfAttention
from attention_unet.attention.pairwise.state_space import StateSpace
from attention_unet.attention.pairwise.window import WindowAttention
from attention_unet.attention.spatial.additive_gate import AdditiveGate
from attention_unet.attention.spatial.channel_squeeze import ChannelSqueeze
from attention_unet.attention.spatial.conv_spatial import ConvSpatialAttention
from attention_unet.attention.spatial.hard_gate import HardGate
from attention_unet.attention.spatial.lee_gate import LeeGate
from attention_unet.attention.spatial.multi_gate import MultiGate
from attention_unet.attention.spatial.pooled_spatial import PooledSpatialAttention
from attention_unet.attention.wrappers import MultiScale, Parallel, Recursive, Residual, Sequential

GROUP = "attention_unet.attention"  # the entry points by which a package adds its mechanisms

MECHANISMS: dict[str, type[Attention]] = {
    "identity": Identity,
    # channel: (B, C, 1, ...)
    "se": SqueezeExcitation,
    "cbam_channel": MeanMaximumExcitation,
    "eca": EfficientChannelAttention,
    "gct": GatedChannelTransformation,
    "gaussian_ct": GaussianContextTransformer,
    "srm": StyleRecalibration,
    "gsop": SecondOrderPooling,
    "fca": FrequencyChannelAttention,
    "encoding": ContextEncoding,
    "decoder_channel": DecoderChannelAttention,
    "channel_self": ChannelSelfAttention,
    # spatial: (B, 1, *S)
    "spatial": PooledSpatialAttention,
    "conv_spatial": ConvSpatialAttention,
    "sse": ChannelSqueeze,
    "gate": AdditiveGate,
    "lee_gate": LeeGate,
    "multi_gate": MultiGate,
    "hard": HardGate,
    # mixed: (B, C, *S)
    "cbam": CBAM,
    "scse": ConcurrentExcitation,
    "bam": BottleneckAttention,
    "project_excite": ProjectExcite,
    "coordinate": CoordinateAttention,
    "triplet": TripletAttention,
    "polarized": PolarizedAttention,
    "simam": SimAM,
    "large_kernel": LargeKernelAttention,
    "bilinear": BilinearAttention,
    "residual_mask": ResidualMask,
    # pairwise: received maps (B, 1, *Sk)
    "self": SelfAttention,
    "nonlocal": NonLocalBlock,
    "cross": CrossAttention,
    "deformable": DeformableAttention,
    "window": WindowAttention,
    "axial": AxialAttention,
    "efficient": EfficientAttention,
    "external": ExternalAttention,
    "paired": PairedAttention,
    "state_space": StateSpace,
    # geometric
    "stn": SpatialTransformer,
    "glimpse": Glimpse,
    # kernel
    "selective_kernel": SelectiveKernel,
    "dynamic_conv": DynamicConvolution,
}

WRAPPERS: dict[str, type[Attention]] = {
    "sequential": Sequential,
    "parallel": Parallel,
    "residual": Residual,
    "recursive": Recursive,
    "multiscale": MultiScale,
}

# To train beside a mechanism: {"displaced": "gate"}. No mechanisms themselves, so not in NAMES.
CONTROLS: dict[str, type[Attention]] = {"displaced": Displaced, "template": Template}

NAMES = [*MECHANISMS, *WRAPPERS]


@cache
def added_names() -> dict[str, EntryPoint]:
    """Return, by name, the mechanisms that other installed packages add. They cannot replace a name of this package."""
    return {point.name: point for point in entry_points(group=GROUP) if point.name not in {*NAMES, *CONTROLS}}


def all_names() -> list[str]:
    """Return the names of all mechanisms: of this package, then of others."""
    return [*NAMES, *added_names()]


def find_mechanism(name: str) -> type[Attention]:
    """Return the class of a name.

    Raise ValueError if there is no such mechanism, or the package that adds it does not give a class of mechanisms.
    """
    if known := MECHANISMS.get(name) or WRAPPERS.get(name):
        return known
    if name in CONTROLS:
        raise ValueError(f"{name} is the control of a mechanism: expected one inside, such as {{{name}: gate}}")
    if name not in added_names():
        raise ValueError(
            f"no attention mechanism is called {name!r}{_suggest(name)}; expected one of {', '.join(all_names())}"
        )
    point = added_names()[name]
    try:
        found = point.load()
    except Exception as error:  # whatever goes wrong in the other package
        raise ValueError(f"{name} ({point.value}) cannot be imported: {error}") from error
    if not (isinstance(found, type) and issubclass(found, Attention)):
        raise ValueError(f"{name} ({point.value}) is {found!r}: expected a class that inherits from Attention")
    kind = getattr(found, "kind", None)
    if kind not in KINDS[1:]:
        raise ValueError(f"{name} ({point.value}): its kind is {kind!r}: expected {', '.join(KINDS[1:])}")
    try:
        options_of(found)
    except Exception as error:  # of its constructor or its annotations
        raise ValueError(f"{name} ({point.value}): {error}") from error
    return found


def _suggest(unknown: str) -> str:
    """Return a correction of a name that is not in the tables."""
    if any(mark in unknown for mark in ", ;+"):
        return " (write several as a list: [se, gate])"
    nearest = difflib.get_close_matches(unknown.lower(), all_names(), n=1)
    return f" (did you mean {nearest[0]}?)" if nearest else ""
