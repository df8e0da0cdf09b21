"""Ablate the attention of a network while it predicts: remove it, make it constant, or replace its maps."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from attention_unet.attention import Attended, Attention
from attention_unet.inference.decision import choose_classes
from attention_unet.inference.locator import cut_to_structures
from attention_unet.inference.model import Model
from attention_unet.inference.predict_volume import predict_planes
from attention_unet.inference.settings import Settings
from attention_unet.layers.dimensions import pool_to
from attention_unet.network import NetworkOutput, UNet
from attention_unet.network.blocks import FeaturesOf
from attention_unet.preparation.preprocessing import Preprocessed, preprocess
from attention_unet.scans.geometry import resample_to_grid
from attention_unet.scans.volumes import Volume

# "removed": features are not weighted. "constant": every weight is the mean of all weights.
Ablation = Literal["removed", "constant"]
ABLATIONS: tuple[Ablation, ...] = get_args(Ablation)


def _all_attention(network: UNet) -> list[Attention]:
    """Return the attention of all places, and that before convolutions, which gives no map."""
    before = [module.attention for module in network.modules() if isinstance(module, FeaturesOf)]
    return [*network.attentions().values(), *before]


def possible_ablations(network: UNet) -> tuple[Ablation, ...]:
    """Return the possible ablations. Attention that does not multiply features by weights can only be removed."""
    attentions = _all_attention(network)
    if not attentions:
        return ()
    return ABLATIONS if all(attention.multiplies for attention in attentions) else ("removed",)


def has_replaceable_maps(model: Model) -> bool:
    """Return whether the maps of a model can be replaced: its attention multiplies features by one weight per voxel."""
    attentions = model.network.attentions().values()
    return bool(attentions) and all(each.multiplies and each.kind in ("spatial", "geometric") for each in attentions)


@contextmanager
def ablated(network: UNet, ablation: Ablation) -> Iterator[None]:
    """Ablate all attention while the block runs."""

    def ablate(attention: nn.Module, inputs: Any, attended: Attended) -> Attended:
        x, weights = inputs[0], attended.weights
        if ablation == "removed" or weights is None:
            return Attended(x, weights)
        mean = weights.flatten(1).mean(dim=1).view(-1, *[1] * (weights.dim() - 1)).expand_as(weights)
        return Attended(x * mean, mean)

    with ExitStack() as hooks:
        for attention in _all_attention(network):
            hooks.enter_context(attention.register_forward_hook(ablate))
        yield


def predict_with_maps(
    model: Model, volume: Volume, maps: Mapping[str, NDArray[np.float32]], overlap: float
) -> NDArray[Any]:
    """Predict a volume with given attention maps instead of those of the network. Return its label map (I, J, K).

    The model must have replaceable maps. Each map (I, J, K) is on the grid of the volume. The maps are added to the
    image as channels, so that each window gets its part of them.
    """
    places, plan = list(maps), model.plan
    image = cut_to_structures(model, preprocess(volume, plan.preprocessing))
    scan_grid = image.scan_grid
    means = [float(maps[place].mean()) for place in places]  # subtracted, because windows are padded with 0
    channels = resample_to_grid(
        np.stack([maps[place] - mean for place, mean in zip(places, means, strict=True)]), scan_grid
    )
    background = torch.cat([image.background, torch.full((len(places),), torch.inf)])  # no window counts as background
    network = _ReplacedMaps(model.network, len(plan.channels), dict(zip(places, means, strict=True)))
    rows = slice(0, scan_grid.scan[1])
    planes = predict_planes(
        replace(model, network=network),
        Preprocessed(torch.cat([image.image, channels]), background, scan_grid),
        Settings(overlap=overlap),
        [],
        rows,
        scan_grid.planes_back(plan.labels.channels, rows),
    )
    with torch.inference_mode():
        targets = (choose_classes(each, plan.labels).cpu().numpy() for each in planes)
        label_map = np.concatenate([plan.labels.decode(target) for target in targets])
    return scan_grid.as_stored(label_map)


class _ReplacedMaps(UNet):
    """A network that reads its attention maps from the last channels of its input."""

    def __init__(self, network: UNet, channels: int, means: Mapping[str, float]) -> None:
        nn.Module.__init__(self)
        self.network, self.channels, self.means = network, channels, means

    def forward(self, x: Tensor, full_output: bool = False) -> Tensor | NetworkOutput:
        """Predict from the first channels, with the maps in the other channels."""
        image, maps = x[:, : self.channels], x[:, self.channels :]
        weights = {place: maps[:, [i]] + mean for i, (place, mean) in enumerate(self.means.items())}
        with ExitStack() as hooks:
            for place, attention in self.network.attentions().items():
                hooks.enter_context(attention.register_forward_hook(partial(_replace_weights, weights[place])))
            return self.network(image, full_output=full_output)


def _replace_weights(weights: Tensor, attention: nn.Module, inputs: Any, attended: Attended) -> Attended:
    x = inputs[0]
    pooled = pool_to(weights.float(), x.shape[2:]).to(x.dtype)
    return Attended(x * pooled, pooled)
