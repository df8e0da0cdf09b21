"""The contract of attention mechanisms: features in; features of the same shape and the applied weights out."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

# "open": the mechanism starts as the identity or near it, so that no skip is closed before training has learned what
# to suppress. Those that add their input start above the identity. "paper": as published, mostly without opening bias.
Init = Literal["open", "paper"]

KINDS = ("identity", "channel", "spatial", "mixed", "pairwise", "geometric", "kernel")
OPEN_BIAS = 3.0  # sigmoid(3) = 0.95
OPEN_STD = 0.01  # of the weights in front of an opening bias


@dataclass(frozen=True)
class Place:
    """Position of a mechanism in a network: the features that it is built for.

    Attributes:
        dims: 2 or 3 spatial dimensions.
        channels: channels C of the features to attend to.
        gate_channels: channels Cg of the decoder's coarser signal.
        stride: step from the grid of the features to the gate's coarser grid, for each axis.
        init: "open" starts as the identity or near it, "paper" as published, where most mechanisms keep torch's initial
            values.
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

    @property
    def open(self) -> bool:
        """Whether the mechanism starts open."""
        return self.init == "open"


class Attended(NamedTuple):
    """Features and weights that a mechanism returns.

    Attributes:
        features: attended features, in the shape of the input ``(B, C, *S)``.
        weights: applied weights, ``(B, C, 1, ...)``, ``(B, 1, *S)`` or ``(B, C, *S)``. Attention between voxels
            returns what each key received, ``(B, 1, *Sk)`` on the grid of the keys: from all queries, or from evenly
            spaced ones of a large grid. There 1 is an equal share; the matrix of all pairs is never returned.
            Attention between kernels returns the share of each kernel, ``(B, K, 1, ...)`` or ``(B, K * C, 1, ...)``.
            None if nothing is weighted, or if weights that only serve display were not asked for.
    """

    features: Tensor
    weights: Tensor | None


class Attention(nn.Module, ABC):
    """Base of all mechanisms.

    A mechanism is built from its place and from options, which are keywords with a type and a default:
    ``SqueezeExcitation(place, reduction=4)``. It returns its weights, and never stores them.

    Attributes:
        kind: what the weights belong to: "channel", "spatial", "mixed", "pairwise", "geometric" or "kernel";
            "identity" for none.
        needs_gate: whether the mechanism also uses the decoder's coarser signal.
        multiplies: whether the features are exactly the input times the weights.
        before_convolution: whether a block applies it before each convolution, not after the last normalisation.
    """

    kind: str
    needs_gate: bool = False
    multiplies: bool = True
    before_convolution: bool = False

    def __init__(self, place: Place | None = None) -> None:
        super().__init__()

    @abstractmethod
    def forward(self, x: Tensor, gate: Tensor | None = None, with_map: bool = False) -> Attended:
        """Attend to ``x`` of shape ``(B, C, *S)``, given the coarser signal ``gate`` of shape ``(B, Cg, *Sg)``.

        ``with_map`` asks for weights that cost time and only serve display, as those of attention between voxels.

        Raises:
            ValueError: if the mechanism needs a gating signal and none is given.
        """


class Gathering(Attention):
    """Base of mechanisms in which every voxel gathers features from others; nothing is multiplied."""

    kind: str = "pairwise"
    multiplies = False


class Identity(Attention):
    """No attention: the control of every comparison, through the same code."""

    kind: str = "identity"
    multiplies = False

    def forward(self, x: Tensor, gate: Tensor | None = None, with_map: bool = False) -> Attended:
        """Return ``x`` unchanged."""
        return Attended(x, None)


def check_contract(attention: Attention, x: Tensor, gate: Tensor | None) -> None:
    """Raise ValueError if a mechanism does not return what it should.

    It should return finite features of the shape and type of the input, whatever ``with_map`` is, and weights of a
    known shape that fits its kind. If it multiplies, the weights should be the factors of its input.
    """
    who, result = f"{type(attention).__name__}.forward", attention(x, gate, True)
    if not isinstance(result, Attended):
        raise ValueError(f"{who} returned a {type(result).__name__}: expected Attended(features, weights)")
    features, weights = result
    if features.shape != x.shape or features.dtype != x.dtype:
        found, expected = (f"{tuple(each.shape)} of {each.dtype}" for each in (features, x))
        raise ValueError(f"{who} returned features {found}: expected {expected}, as its input")
    if not features.isfinite().all():
        raise ValueError(f"{who} returned features that are NaN or infinite")
    plain = attention(x, gate)
    same = isinstance(plain, Attended) and (plain.features.shape, plain.features.dtype) == (x.shape, x.dtype)
    if not same or not torch.allclose(plain.features, features, rtol=1e-3, atol=1e-4):
        raise ValueError(
            f"{who} returned other features without with_map, or when it was called again: expected the same"
        )
    if attention.multiplies and weights is not None and plain.weights is None:
        raise ValueError(
            f"{who} returned no weights without with_map: they are factors of the input, so return them always"
        )
    if weights is None:
        if attention.multiplies and not torch.allclose(features, x, rtol=1e-3, atol=1e-4):
            raise ValueError(f"{who} returned no weights: return the factors of the input, or set multiplies = False")
        return
    fits = weights.dim() == x.dim() and len(weights) == len(x)
    if attention.multiplies:
        fits = fits and all(edge in (1, of_x) for edge, of_x in zip(weights.shape, x.shape, strict=True))
        fits = fits and (attention.kind != "spatial" or weights.shape[1] == 1)
        fits = fits and (attention.kind != "channel" or set(weights.shape[2:]) == {1})
    if not fits:
        raise ValueError(
            f"{who} of kind {attention.kind} returned weights {tuple(weights.shape)}: expected (B, C, 1, ...) of kind "
            "channel, (B, 1, *S) of kind spatial, (B, C, *S) of others"
        )
    if attention.multiplies and not torch.allclose(features, x * weights, rtol=1e-3, atol=1e-4):
        raise ValueError(
            f"{who} returned features that are not x times the weights: correct it, or set multiplies = False"
        )


def broadcast_channels(values: Tensor, x: Tensor) -> Tensor:
    """Return values of channels (B, C) as ``(B, C, 1, ...)``, in the type of ``x``, ready to multiply it."""
    return values.to(x.dtype).reshape(values.shape + (1,) * (x.dim() - 2))


def apply_weights(x: Tensor, weights: Tensor) -> Attended:
    """Multiply ``x`` (B, C, *S) by weights: (B, C) for its channels, or a shape that ``Attended`` names."""
    weights = broadcast_channels(weights, x) if weights.dim() == 2 else weights.to(x.dtype)
    return Attended(x * weights, weights)


def hidden_channels(place: Place, reduction: int) -> int:
    """Return the width of a small network between channels: C / reduction as published.

    The open form keeps at least the smaller of 8 and C: C / 16 of few channels is too narrow.
    """
    least = min(place.channels, 8) if place.open else 1
    return max(place.channels // reduction, least)


def odd(kernel: int) -> int:
    """Return the kernel size. Raise ValueError if it is even, which would shift the features."""
    if kernel % 2 == 0:
        raise ValueError(f"kernel is {kernel}: expected an odd number")
    return kernel


def open_up(layer: nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d, bias: float = OPEN_BIAS) -> None:
    """Open a layer in front of a sigmoid: small weights, and a bias."""
    nn.init.normal_(layer.weight, std=OPEN_STD)
    nn.init.constant_(layer.bias, bias)  # type: ignore[arg-type]  # the bias exists


def start_at_zero(layer: nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d) -> None:
    """Let a layer return 0 until it has learned something else."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def gate_or_error(gate: Tensor | None, mechanism: str) -> Tensor:
    """Return the gating signal. Raise ValueError with the name of the mechanism if there is none."""
    if gate is None:
        raise ValueError(f"{mechanism} needs the coarser decoder signal: call it as attention(x, gate)")
    return gate
