"""The table of all mechanisms, and the builder that turns a specification into a module."""

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from attention_unet.attention.base import Attention, Identity, Init
from attention_unet.attention.channel.context_encoding import ContextEncoding
from attention_unet.attention.channel.efficient_channel import EfficientChannelAttention
from attention_unet.attention.channel.frequency import FrequencyChannelAttention
from attention_unet.attention.channel.gated_channel import GatedChannelTransformation
from attention_unet.attention.channel.gaussian_context import GaussianContextTransformer
from attention_unet.attention.channel.second_order import SecondOrderPooling
from attention_unet.attention.channel.squeeze_excitation import SqueezeExcitation
from attention_unet.attention.channel.style_recalibration import StyleRecalibration
from attention_unet.attention.geometric.glimpse import Glimpse
from attention_unet.attention.geometric.spatial_transformer import SpatialTransformer
from attention_unet.attention.mixed.bilinear import BilinearAttention
from attention_unet.attention.mixed.mask_branch import MaskBranch
from attention_unet.attention.pairwise.cross_attention import CrossAttention
from attention_unet.attention.pairwise.deformable import DeformableAttention
from attention_unet.attention.pairwise.nonlocal_block import NonLocalBlock
from attention_unet.attention.pairwise.self_attention import SelfAttention
from attention_unet.attention.spatial.additive_gate import AdditiveGate
from attention_unet.attention.spatial.channel_squeeze import ChannelSqueeze
from attention_unet.attention.spatial.conv_spatial import ConvSpatialAttention
from attention_unet.attention.spatial.hard_gate import HardGate
from attention_unet.attention.spatial.lee_gate import LeeGate
from attention_unet.attention.spatial.multi_gate import MultiGate
from attention_unet.attention.spatial.pooled_spatial import PooledSpatialAttention
from attention_unet.attention.wrappers.multiscale import MultiScale
from attention_unet.attention.wrappers.parallel import Parallel
from attention_unet.attention.wrappers.recursive import Recursive
from attention_unet.attention.wrappers.residual import Residual
from attention_unet.attention.wrappers.sequential import Sequential


@dataclass(frozen=True)
class Place:
    """Position of a mechanism in a network: the features that it is built for.

    Attributes:
        dims: 2 or 3 spatial dimensions.
        channels: channels of the features to attend to.
        gate_channels: channels of the decoder's coarser signal.
        stride: step from the grid of the features to the gate's coarser grid, for each axis.
        init: start "open", or as in the "paper".
        classes: number of classes whose presence the mechanism may predict; None for no such prediction.

    Raises:
        ValueError: if a value is invalid.
    """

    dims: int
    channels: int
    gate_channels: int
    stride: int | tuple[int, ...] = 2
    init: Init = "open"
    classes: int | None = None

    def __post_init__(self) -> None:
        if self.dims not in (2, 3):
            raise ValueError(f"dims must be 2 or 3, got {self.dims}")
        if min(self.channels, self.gate_channels) < 1:
            raise ValueError(f"channels must be at least 1, got {self.channels}, and {self.gate_channels} for the gate")
        if self.init not in get_args(Init):
            raise ValueError(f"init is {self.init!r}: expected {' or '.join(get_args(Init))}")


MECHANISMS: dict[str, Callable[[Place], Attention]] = {
    "identity": lambda p: Identity(),
    # channel: (B, C, 1, ...)
    "se": lambda p: SqueezeExcitation(p.channels, init=p.init),
    "cbam_channel": lambda p: SqueezeExcitation(p.channels, maximum=True, init=p.init),
    "eca": lambda p: EfficientChannelAttention(p.channels, p.init),
    "gct": lambda p: GatedChannelTransformation(p.channels),
    "gaussian_ct": lambda p: GaussianContextTransformer(),
    "srm": lambda p: StyleRecalibration(p.channels, p.init),
    "gsop": lambda p: SecondOrderPooling(p.dims, p.channels, p.init),
    "fca": lambda p: FrequencyChannelAttention(p.dims, p.channels, p.init),
    "encoding": lambda p: ContextEncoding(p.dims, p.channels, p.classes, p.init),
    # spatial: (B, 1, *S)
    "spatial": lambda p: PooledSpatialAttention(p.dims, p.init),
    "conv_spatial": lambda p: ConvSpatialAttention(p.dims, p.channels, p.init),
    "sse": lambda p: ChannelSqueeze(p.dims, p.channels, p.init),
    "gate": lambda p: AdditiveGate(p.dims, p.channels, p.gate_channels, p.stride, init=p.init),
    "lee_gate": lambda p: LeeGate(p.dims, p.channels, p.gate_channels, p.init),
    "multi_gate": lambda p: MultiGate(p.dims, p.channels, p.gate_channels, p.stride, p.init),
    "hard": lambda p: HardGate(p.dims, p.channels, p.gate_channels, p.stride, init=p.init),
    # mixed: (B, C, *S)
    "cbam": lambda p: build_at(["cbam_channel", "spatial"], p),
    "scse": lambda p: Parallel([SqueezeExcitation(p.channels, reduction=2, init=p.init), build_at("sse", p)], "max"),
    "bilinear": lambda p: BilinearAttention(p.dims, p.channels, p.init),
    "residual_mask": lambda p: Residual(MaskBranch(p.dims, p.channels)),
    # pairwise
    "self": lambda p: SelfAttention(p.dims, p.channels, p.init),
    "nonlocal": lambda p: NonLocalBlock(p.dims, p.channels),
    "cross": lambda p: CrossAttention(p.dims, p.channels, p.gate_channels),
    "deformable": lambda p: DeformableAttention(p.dims, p.channels),
    # geometric
    "stn": lambda p: SpatialTransformer(p.dims, p.channels),
    "glimpse": lambda p: Glimpse(p.dims, p.channels),
}

# Wrappers, and their content if only their name is given.
WRAPPERS: dict[str, "Spec"] = {
    "sequential": ["se", "spatial"],
    "parallel": ["se", "sse"],
    "residual": "spatial",
    "recursive": "gate",
    "multiscale": "spatial",
}
# The option of a wrapper, and its default.
OPTIONS: dict[str, tuple[str, Any]] = {
    "parallel": ("combine", "max"),
    "recursive": ("times", 3),
    "multiscale": ("scales", 3),
}
NAMES = [*MECHANISMS, *WRAPPERS]

# A name; a list of specifications, applied in sequence; or a mapping from a wrapper's name to its content, with the
# wrapper's option as a second key, such as {"parallel": ["se", "sse"], "combine": "add"}.
Spec = str | Sequence[Any] | Mapping[str, Any]


def build_at(spec: Spec, place: Place) -> Attention:
    """Build a mechanism from its specification.

    Raises:
        ValueError: if a name is not in the tables, or the specification is inconsistent.
    """
    if isinstance(spec, str):
        if spec in WRAPPERS:
            return _build_wrapper({spec: WRAPPERS[spec]}, place)
        if spec not in MECHANISMS:
            known = ", ".join(NAMES)
            raise ValueError(f"no attention mechanism is called {spec!r}{_suggest(spec)}; expected one of {known}")
        return MECHANISMS[spec](place)
    if isinstance(spec, Mapping):
        return _build_wrapper(spec, place)
    if not isinstance(spec, Sequence) or not spec:
        raise ValueError(f"expected the name of an attention mechanism, a list of names or a mapping, got {spec!r}")
    return build_at(spec[0], place) if len(spec) == 1 else Sequential([build_at(part, place) for part in spec])


def _build_wrapper(spec: Mapping[str, Any], place: Place) -> Attention:
    names = [key for key in spec if key in WRAPPERS]
    if len(names) != 1 or not all(isinstance(key, str) for key in spec):
        raise ValueError(
            f"expected a mapping of one wrapper ({', '.join(WRAPPERS)}), or, for skips and blocks, a mapping from "
            f"level numbers; got {dict(spec)}"
        )
    name, inner = names[0], spec[names[0]]
    option, default = OPTIONS.get(name, ("", None))
    unknown = [key for key in spec if key not in (name, option)]
    if unknown:
        allowed = f"only the option {option}" if option else "no option"
        raise ValueError(f"{dict(spec)}: unknown option {', '.join(unknown)}; {name} takes {allowed}")
    value = spec.get(option, default)
    if type(value) is not type(default) or (isinstance(value, int) and value < 1):
        expected = "a whole number, at least 1" if isinstance(default, int) else "a word"
        raise ValueError(f"{dict(spec)}: {option} is {value!r}: expected {expected}")
    parts = [inner] if isinstance(inner, str | Mapping) else inner
    if not isinstance(parts, Sequence) or not parts:
        raise ValueError(f"{dict(spec)}: expected a mechanism or a list of mechanisms in {name}, got {inner!r}")
    match name:
        case "sequential":
            return Sequential([build_at(part, place) for part in parts])
        case "parallel":
            return Parallel([build_at(part, place) for part in parts], value)
        case "residual":
            return Residual(build_at(inner, place))
        case "recursive":
            return Recursive(build_at(inner, place), value)
        case _:
            return MultiScale(place.dims, [build_at(inner, place) for _ in range(value)])


def _suggest(unknown: str) -> str:
    """Return a correction of a name that is not in the tables."""
    if any(mark in unknown for mark in ", ;+"):
        return " (write several as a list: [se, gate])"
    nearest = difflib.get_close_matches(unknown.lower(), NAMES, n=1)
    return f" (did you mean {nearest[0]}?)" if nearest else ""
