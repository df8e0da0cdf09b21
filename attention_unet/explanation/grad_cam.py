"""Compute Grad-CAM with MONAI, on the coarsest features, window by window.

Selvaraju et al., "Grad-CAM", arXiv:1610.02391. For segmentation, the score of a class is the sum of its logits over the
voxels that are predicted as the class: Vinogradova et al., "Towards Interpretable Semantic Segmentation via
Gradient-weighted Class Activation Mapping", arXiv:2002.11434.
"""

import copy
from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
from monai.visualize import GradCAM
from numpy.typing import NDArray
from torch import Tensor, nn

from attention_unet.inference.locator import cut_to_structures
from attention_unet.inference.model import Model
from attention_unet.inference.sliding_window import slide
from attention_unet.inference.window_predictor import in_slices
from attention_unet.layers.dimensions import interpolate_to
from attention_unet.preparation.preprocessing import preprocess
from attention_unet.scans.geometry import resample_to_scan
from attention_unet.scans.volumes import Volume

OVERLAP = 0.5


class ClassScores(nn.Module):
    """Network that returns for each class the sum of its logits over the voxels that are predicted as the class."""

    def __init__(self, network: nn.Module, overlapping: bool) -> None:
        super().__init__()
        self.network, self.overlapping = network, overlapping

    def forward(self, x: Tensor) -> Tensor:
        """Return the scores (B, out_channels) of windows (B, C, *S)."""
        logits: Tensor = self.network(x)
        likeliest = logits.argmax(dim=1, keepdim=True)
        predicted = logits > 0 if self.overlapping else torch.zeros_like(logits).scatter_(1, likeliest, 1.0) > 0
        return (logits * predicted).flatten(2).sum(dim=2)


def grad_cams(model: Model, volume: Volume) -> Iterator[NDArray[np.float32]]:
    """Yield the Grad-CAM of each class on the grid of a scan, scaled to 0 to 1; all 0 if the class is not predicted.

    It is NaN where no window was predicted: outside the part that a locator found, and in empty margins.
    """
    plan = model.plan
    coarsest = f"network.encoder.{len(model.network.encoder) - 1}.activation"
    network = copy.deepcopy(model.network)  # MONAI does not remove its hooks
    scores = ClassScores(network, plan.labels.overlapping)
    cam = GradCAM(nn_module=scores, target_layers=coarsest, postprocessing=lambda activation: activation)

    def predict(inputs: Tensor, channel: int) -> Tensor:
        maps = [cam.compute_map(window[None].clone().requires_grad_(), class_idx=channel) for window in inputs]
        return interpolate_to(torch.cat(maps).detach(), inputs.shape[2:])

    image = cut_to_structures(model, preprocess(volume, plan.preprocessing))
    unseen = torch.full((1,), torch.nan)
    rows = slice(0, image.scan_grid.scan[1])
    at_once = image.scan_grid.planes_back(1, rows)
    background = 0 if plan.labels.overlapping else 1
    for channel in range(background, background + len(plan.labels.names)):
        windows = slide(
            image.image.to(model.device),
            plan.patch,
            in_slices(partial(predict, channel=channel), plan),
            unseen=unseen,
            background=image.background,
            overlap=OVERLAP,
            stack_axis=plan.preprocessing.stack_axis,
        )
        planes = resample_to_scan((part.cpu() for part in windows), image.scan_grid, unseen, rows, at_once)
        heat = image.scan_grid.as_stored(torch.cat(list(planes), dim=1)[0].numpy())
        highest = float(np.nanmax(heat, initial=0))
        yield np.ascontiguousarray(heat / highest if highest > 0 else heat, dtype=np.float32)
