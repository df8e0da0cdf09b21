"""Change the attention of a network while it predicts: remove it, make it constant, or replace its maps by others."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from attention_unet.attention import Attended, Attention
from attention_unet.inference.decision import probabilities_to_labels
from attention_unet.inference.model import Model
from attention_unet.inference.predict_volume import planes_on_scan
from attention_unet.inference.settings import Settings
from attention_unet.layers.dimensions import pool_to
from attention_unet.network import UNet
from attention_unet.preparation.preprocessing import Preprocessed, preprocess
from attention_unet.scans.geometry import resample_to_grid
from attention_unet.scans.volumes import Volume

# "removed": features pass as they are. "constant": every weight is the mean of all.
Alteration = Literal["removed", "constant"]
ALTERATIONS: tuple[Alteration, ...] = get_args(Alteration)
Hook = Callable[[nn.Module, Any, Attended], Attended]
TRIED = 16  # voxels an axis


def attentions_of(network: UNet) -> dict[int, Attention]:
    """The attention on the skip of each level that has one, and at the bottleneck, the coarsest level."""
    found = {level: network.attention_at(level) for level in range(len(network.encoder))}
    return {level: attention for level, attention in found.items() if attention.kind != "identity"}


def possible(network: UNet) -> tuple[Alteration, ...]:
    """Which alterations make sense: weights that do not simply multiply features can only be removed."""
    attentions = attentions_of(network).values()
    if not attentions:
        return ()
    return ALTERATIONS if all(attention.multiplies for attention in attentions) else ("removed",)


def replaceable(model: Model) -> bool:
    """Whether the maps of a model can be replaced: its attention multiplies features by one weight a voxel."""
    attentions = attentions_of(model.network)
    if not attentions or not all(attention.multiplies for attention in attentions.values()):
        return False
    seen = [min(n, TRIED) for axis, n in enumerate(model.plan.patch) if axis != model.plan.slice_axis]
    with torch.inference_mode():
        weights = model.network(torch.zeros(1, len(model.plan.channels), *seen, device=model.device), True)[1]
    return set(attentions) <= set(weights) and all(weights[level].shape[1] == 1 for level in attentions)


@contextmanager
def altered(network: UNet, how: Alteration) -> Iterator[None]:
    """Alter all attention on skips and at the bottleneck while the block runs.

    Args:
        network: that predicts.
        how: one of those that are possible.
    """

    def alter(attention: nn.Module, inputs: Any, attended: Attended) -> Attended:
        x, weights = inputs[0], attended.weights
        if how == "removed" or weights is None:
            return Attended(x, weights)
        changed = weights.flatten(1).mean(dim=1).view(-1, *[1] * (weights.dim() - 1)).expand_as(weights)
        return Attended(x * changed, changed)

    with _hooked(attentions_of(network), dict.fromkeys(attentions_of(network), alter)):
        yield


def predict_with_maps(
    model: Model, volume: Volume, maps: Mapping[int, NDArray[np.float32]], overlap: float
) -> NDArray[Any]:
    """Predict a volume with other attention maps in the place of those that the network makes.

    The maps travel with the windows as further channels, so that each window gets its part of them.

    Args:
        model: whose maps are ``replaceable``.
        volume: to predict.
        maps: of each attended level (I, J, K), on the grid of the volume.
        overlap: of windows, 0 to below 1.

    Returns:
        Label map (I, J, K).
    """
    levels, plan = sorted(maps), model.plan
    prepared = preprocess(volume, plan.preprocessing)
    scan_grid = prepared.scan_grid
    means = [float(maps[level].mean()) for level in levels]  # outside of the volume, windows are filled with 0
    carried = resample_to_grid(
        np.stack([maps[level] - mean for level, mean in zip(levels, means, strict=True)]), scan_grid
    )
    air = torch.cat([prepared.air, torch.full((len(levels),), torch.inf)])  # no window counts as empty
    network = _Replaying(model.network, len(plan.channels), dict(zip(levels, means, strict=True)))
    rows = slice(0, scan_grid.scan[1])
    slabs = planes_on_scan(
        replace(model, network=network),
        Preprocessed(torch.cat([prepared.image, carried]), air, scan_grid),
        Settings(overlap=overlap),
        [],
        rows,
        1,
        scan_grid.planes_back(plan.labels.channels, rows),
    )
    with torch.inference_mode():
        label_map = np.concatenate([probabilities_to_labels(slab, plan.labels) for slab in slabs])
    return scan_grid.as_stored(label_map)


class _Replaying(UNet):
    """A network that takes its attention maps from further channels of its input."""

    def __init__(self, network: UNet, channels: int, means: Mapping[int, float]) -> None:
        nn.Module.__init__(self)
        self.network, self.channels, self.means = network, channels, means

    def forward(self, x: Tensor, return_maps: bool = False, return_presence: bool = False) -> Any:
        """Predict the first channels with the maps in the others."""
        image, carried = x[:, : self.channels], x[:, self.channels :]
        maps = {level: carried[:, [i]] + mean for i, (level, mean) in enumerate(self.means.items())}
        attentions = attentions_of(self.network)
        with _hooked(attentions, {level: _replace_by(maps[level]) for level in attentions}):
            return self.network(image, return_maps=return_maps)


def _replace_by(weights: Tensor) -> Hook:
    def replaced(attention: nn.Module, inputs: Any, attended: Attended) -> Attended:
        x = inputs[0]
        changed = pool_to(weights.float(), x.shape[2:]).to(x.dtype)
        return Attended(x * changed, changed)

    return replaced


@contextmanager
def _hooked(attentions: Mapping[int, Attention], hooks: Mapping[int, Hook]) -> Iterator[None]:
    with ExitStack() as stack:
        for level, attention in attentions.items():
            stack.enter_context(attention.register_forward_hook(hooks[level]))
        yield
