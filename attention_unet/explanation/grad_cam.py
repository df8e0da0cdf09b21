"""Grad-CAM beside attention, as many expect to see it: by MONAI, on the coarsest features, window by window.

Selvaraju et al., "Grad-CAM", arXiv:1610.02391; for segmentation, the score of a class is the sum of its logits over the
voxels that are called it: Vinogradova et al., "Towards Interpretable Semantic Segmentation via Gradient-weighted Class
Activation Mapping", arXiv:2002.11434.
"""

import copy

import numpy as np
import torch
from monai.visualize import GradCAM
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from attention_unet.inference.model import Model
from attention_unet.inference.sliding_window import slide
from attention_unet.layers.dimensions import INTERPOLATION
from attention_unet.preparation.preprocessing import preprocess
from attention_unet.scans.geometry import resample_to_scan
from attention_unet.scans.volumes import Volume

OVERLAP = 0.5


class ClassScores(nn.Module):
    """Of each class the sum of the logits of the voxels that are called it: (B, out_channels)."""

    def __init__(self, network: nn.Module, overlapping: bool) -> None:
        super().__init__()
        self.network, self.overlapping = network, overlapping

    def forward(self, x: Tensor) -> Tensor:
        """Scores of windows (B, C, *S)."""
        logits: Tensor = self.network(x)
        likeliest = logits.argmax(dim=1, keepdim=True)
        called = logits > 0 if self.overlapping else torch.zeros_like(logits).scatter_(1, likeliest, 1.0) > 0
        return (logits * called).flatten(2).sum(dim=2)


def grad_cam(model: Model, volume: Volume, channel: int) -> NDArray[np.float32]:
    """Grad-CAM of a class on the grid of a scan, from 0 to 1, the highest of the scan.

    Args:
        model: that predicts.
        volume: the scan.
        channel: of the logits.
    """
    plan = model.plan
    coarsest = f"network.encoder.{len(model.network.encoder) - 1}"
    scores = ClassScores(copy.deepcopy(model.network), plan.labels.overlapping)  # whose hooks stay
    cam = GradCAM(nn_module=scores, target_layers=coarsest, postprocessing=lambda activation: activation)
    across = None if plan.slice_axis is None else 2 + plan.slice_axis

    def predict(windows: Tensor) -> Tensor:
        inputs = windows if across is None else windows.squeeze(across)
        maps = [cam.compute_map(one[None].clone().requires_grad_(), class_idx=channel) for one in inputs]
        finer = F.interpolate(
            torch.cat(maps).detach(), inputs.shape[2:], mode=INTERPOLATION[inputs.dim() - 2], align_corners=False
        )
        return finer if across is None else finer.unsqueeze(across)

    prepared = preprocess(volume, plan.preprocessing)
    nothing = torch.zeros(1)
    finished = slide(
        prepared.image.to(model.device), plan.patch, predict, unseen=nothing, air=prepared.air, overlap=OVERLAP
    )
    rows = slice(0, prepared.scan_grid.scan[1])
    at_once = prepared.scan_grid.planes_back(1, rows)
    planes = resample_to_scan((part.cpu() for part in finished), prepared.scan_grid, nothing, rows, at_once)
    found = prepared.scan_grid.as_stored(torch.cat(list(planes), dim=1)[0].numpy())
    highest = float(found.max())
    return np.ascontiguousarray(found / highest if highest > 0 else found, dtype=np.float32)
