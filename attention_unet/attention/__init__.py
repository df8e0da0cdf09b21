"""Attention mechanisms, named by what is weighted, and the one table they are built from."""

from collections.abc import Callable, Sequence

from attention_unet.attention.base import Attended, Attention, Identity
from attention_unet.attention.compose import Sequential
from attention_unet.attention.gate import AdditiveGate
from attention_unet.attention.spatial import SpatialAttention

__all__ = ["MECHANISMS", "AdditiveGate", "Attended", "Attention", "Identity", "Sequential", "SpatialAttention", "build"]

Stride = int | tuple[int, ...]

# name -> maker(dims, channels, gate_channels, stride)
MECHANISMS: dict[str, Callable[[int, int, int, Stride], Attention]] = {
    "identity": lambda dims, channels, gate_channels, stride: Identity(),
    "gate": lambda dims, channels, gate_channels, stride: AdditiveGate(dims, channels, gate_channels, stride),
    "spatial": lambda dims, channels, gate_channels, stride: SpatialAttention(dims),
}


def build(
    name: str | Sequence[str], *, dims: int, channels: int, gate_channels: int | None = None, stride: Stride = 2
) -> Attention:
    """Build a mechanism by its name, or several in sequence by a list of names.

    Args:
        name: a key of ``MECHANISMS``, or a list of them.
        dims: 2 or 3 spatial dimensions.
        channels: channels of the features to weight.
        gate_channels: channels of the decoder's coarser signal; those of the features if None.
        stride: how much coarser the gate's grid is, for each axis.

    Raises:
        ValueError: if a name is not in the table.
    """
    if not isinstance(name, str):
        parts = [build(n, dims=dims, channels=channels, gate_channels=gate_channels, stride=stride) for n in name]
        return parts[0] if len(parts) == 1 else Sequential(parts)
    if name not in MECHANISMS:
        raise ValueError(f"no attention mechanism is called {name!r}; there are {', '.join(sorted(MECHANISMS))}")
    return MECHANISMS[name](dims, channels, gate_channels or channels, stride)
