"""Attention mechanisms, in one folder per kind of weights, and what builds them by name."""

from attention_unet.attention.base import Attended, Attention, Identity, Init, Place
from attention_unet.attention.mechanisms import CONTROLS, MECHANISMS, NAMES, WRAPPERS, all_names, find_mechanism
from attention_unet.attention.options import options_of
from attention_unet.attention.specification import Spec, build_at
from attention_unet.layers.dimensions import per_axis

__all__ = [
    "CONTROLS",
    "MECHANISMS",
    "NAMES",
    "WRAPPERS",
    "Attended",
    "Attention",
    "Identity",
    "Init",
    "Place",
    "Spec",
    "all_names",
    "build",
    "build_at",
    "find_mechanism",
    "options_of",
]


def build(
    spec: Spec,
    *,
    dims: int,
    channels: int,
    gate_channels: int | None = None,
    stride: int | tuple[int, ...] = 2,
    init: Init = "open",
) -> Attention:
    """Build a mechanism from its name or from a specification of several mechanisms.

    Args:
        spec: a name of ``all_names()``; a name with its options, such as ``{"se": {"reduction": 4}}``; a list for
            several mechanisms in sequence; a mapping for a wrapper with its content, such as
            ``{"recursive": "gate", "times": 2}``.
        dims: 2 or 3 spatial dimensions.
        channels: channels of the features to attend to.
        gate_channels: channels of the decoder's coarser signal; those of the features if None.
        stride: step from the grid of the features to the gate's coarser grid, for each axis.
        init: "open" starts as the identity or near it, "paper" as published.

    Raises:
        ValueError: if there is no such name or option, or the specification is inconsistent.

    Example:
        >>> gate = build("gate", dims=3, channels=16, gate_channels=32)
        >>> features, weights = gate(torch.randn(1, 16, 8, 8, 8), torch.randn(1, 32, 4, 4, 4))
        >>> weights.shape
        torch.Size([1, 1, 8, 8, 8])
    """
    gates = channels if gate_channels is None else gate_channels
    return build_at(spec, Place(dims, channels, gates, per_axis(stride, dims), init))
