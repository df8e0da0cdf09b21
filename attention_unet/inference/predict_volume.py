"""Prediction of one volume: prepare, slide, put back on the scan's own grid, decide."""

import itertools
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from attention_unet.data.labels import Labels
from attention_unet.data.plan import Plan
from attention_unet.data.preprocessing import prepare
from attention_unet.data.volumes import Volume
from attention_unet.dimensions import INTERPOLATION
from attention_unet.errors import DataError
from attention_unet.geometry import regrid
from attention_unet.inference.sliding_window import WindowPredictor, slide
from attention_unet.network import UNet

MUCH_LARGER = 2.0  # times the largest case of the training, along an axis: it shows what the training never did


@dataclass(frozen=True)
class Prediction:
    """What is said of a volume, on the volume's own grid.

    Attributes:
        probabilities: of background and classes (K, I, J, K), or of overlapping classes, float32.
        labels: of these.
        attention: for each attended level, the weights applied there, averaged over channels, (I, J, K) float32.
    """

    probabilities: Tensor
    labels: Labels
    attention: dict[int, NDArray[np.float32]]

    @property
    def label_map(self) -> NDArray[np.uint8] | NDArray[np.uint16]:
        """(I, J, K) of the training's integers: the likeliest class, or every class above 0.5 where they overlap."""
        if self.labels.overlapping:
            return self.labels.decode((self.probabilities > 0.5).numpy())
        return self.labels.decode(self.probabilities.argmax(dim=0, keepdim=True).numpy())


def predict_volume(
    network: UNet,
    plan: Plan,
    volume: Volume,
    *,
    device: torch.device,
    precision: torch.dtype,
    overlap: float = 0.5,
    mirrored: bool = False,
    attention: bool = False,
) -> Prediction:
    """Predict a volume with one network.

    Args:
        network: in eval mode, on ``device``.
        plan: it was trained by.
        volume: image as it lies in its file.
        device: to compute on.
        precision: torch.float32 or torch.bfloat16.
        overlap: of windows, 0 to below 1.
        mirrored: whether to see every window mirrored as well, along the axes that the training mirrored, and average.
        attention: whether to give attention maps.

    Warns of a scan much larger than those of the training.

    Raises:
        DataError: if the volume has not the channels of the training.
    """
    if len(volume.array) != len(plan.channels):
        raise DataError(
            f"{volume.path}: has {len(volume.array)} channels: the model was trained on "
            f"{len(plan.channels)} ({', '.join(plan.channels)})"
        )
    prepared = prepare(volume, plan.preprocessing)
    _warn_of_size(volume, np.array(prepared.image.shape[1:]) * plan.preprocessing.spacing_mm, plan)
    predictor = window_predictor(network, plan, precision, attention)
    if mirrored:
        predictor = seen_mirrored(predictor, plan.mirror_axes)
    with torch.inference_mode():
        probabilities, maps = slide(prepared.image.to(device), plan.patch, predictor, overlap)
    background = torch.zeros(plan.labels.channels)
    if not plan.labels.overlapping:
        background[0] = 1.0
    grids = (prepared.affine, volume.affine, volume.grid)
    unseen = torch.zeros(1)
    return Prediction(
        probabilities=regrid(probabilities.cpu(), *grids, outside=background),
        labels=plan.labels,
        attention={
            int(level): regrid(values.cpu(), *grids, outside=unseen)[0].numpy() for level, values in maps.items()
        },
    )


def _warn_of_size(volume: Volume, extent_mm: NDArray[np.float64], plan: Plan) -> None:
    """Warn of a scan that shows much more than those trained on, as a whole head is for a model of cut-out parts."""
    if (extent_mm > MUCH_LARGER * np.array(plan.largest_mm)).any():
        found, known = (" x ".join(f"{edge:.0f}" for edge in edges) for edges in (extent_mm, plan.largest_mm))
        warnings.warn(
            f"{volume.path}: is about {found} mm, left-right by back-front by down-up; the model was trained on scans "
            f"of up to about {known} mm and may label what it does not know: crop the scan to what it knows",
            stacklevel=3,
        )


def average(predictions: Iterable[Prediction]) -> Prediction:
    """Mean of the probabilities, and of the attention of each level that all of them attend, of the same classes.

    Two predictions are held at a time, if they come one by one; the first is added to.
    """
    iterator = iter(predictions)
    first = next(iterator)
    count, attention = 1, first.attention
    for other in iterator:
        count += 1
        with torch.inference_mode():  # in which they were made
            first.probabilities.add_(other.probabilities)
        attention = {
            level: attention[level] + other.attention[level] for level in attention if level in other.attention
        }
        del other  # before the next is made
    if count > 1:
        with torch.inference_mode():
            first.probabilities.div_(count)
        attention = {level: values / np.float32(count) for level, values in attention.items()}
    return Prediction(first.probabilities, first.labels, attention)


def seen_mirrored(predict: WindowPredictor, axes: Sequence[int]) -> WindowPredictor:
    """Average what a predictor says of windows and of their mirror images along every combination of axes.

    Args:
        predict: of windows (B, C, I, J, K).
        axes: 0 to 2.
    """
    combinations = [c for n in range(len(axes) + 1) for c in itertools.combinations([2 + axis for axis in axes], n)]

    def predict_all(windows: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        total, sums = predict(windows)
        for flipped in combinations[1:]:
            probabilities, maps = predict(windows.flip(flipped))
            total = total + probabilities.flip(flipped)
            sums = {name: sums[name] + values.flip(flipped) for name, values in maps.items()}
        count = len(combinations)
        return total / count, {name: values / count for name, values in sums.items()}

    return predict_all


def window_predictor(network: UNet, plan: Plan, precision: torch.dtype, attention: bool) -> WindowPredictor:
    """Wrap a network as what slides over a volume: probabilities, and attention maps by level on the window's grid.

    The windows of a 2-D network are slices: one voxel thick along an axis that the network does not see.
    """
    across = None if plan.slice_axis is None else 2 + plan.slice_axis

    def predict(windows: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        inputs = windows if across is None else windows.squeeze(across)
        with torch.autocast(inputs.device.type, dtype=precision, enabled=precision != torch.float32):
            logits, weights = network(inputs, return_maps=True)
        logits = logits.float()
        probabilities = torch.sigmoid(logits) if plan.labels.overlapping else torch.softmax(logits, dim=1)
        maps = {}
        if attention:
            mode = INTERPOLATION[plan.architecture["dims"]]
            for level, weight in weights.items():
                scalar = weight.float().mean(dim=1, keepdim=True).expand(-1, -1, *weight.shape[2:])
                maps[str(level)] = F.interpolate(scalar, inputs.shape[2:], mode=mode, align_corners=False)
        if across is not None:
            probabilities = probabilities.unsqueeze(across)
            maps = {level: values.unsqueeze(across) for level, values in maps.items()}
        return probabilities, maps

    return predict
