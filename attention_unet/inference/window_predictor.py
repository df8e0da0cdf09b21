"""Wrap a network as a predictor of windows: probabilities and attention, averaged over flips if wanted."""

import itertools
from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from attention_unet.inference.sliding_window import WindowPredictor
from attention_unet.layers.dimensions import interpolate_to
from attention_unet.network import NetworkOutput, UNet
from attention_unet.places import PLACES
from attention_unet.preparation.plan import Plan

N = TypeVar("N", bound=nn.Module)
TRIAL_EDGE = 16  # voxels along an axis
LEAST_WEIGHT = 1e-6  # of attention


def place_network(network: N, device: torch.device) -> N:
    """Move a network to a device, and store the weights of its convolutions as the device is fastest.

    This is with channels last on a CPU, and with separate channels on a GPU (docs/gpu.md). Features follow.
    """
    layouts = {4: torch.channels_last, 5: torch.channels_last_3d} if device.type == "cpu" else {}
    for weight in network.to(device).parameters():
        if weight.dim() in (4, 5):
            layout = layouts.get(weight.dim(), torch.contiguous_format)
            weight.data = weight.data.contiguous(memory_format=layout)
    return network


def average_flips(predict: WindowPredictor, axes: Sequence[int]) -> WindowPredictor:
    """Average predictions of windows over flips along every combination of axes (test-time augmentation)."""
    combinations = [c for n in range(len(axes) + 1) for c in itertools.combinations([2 + axis for axis in axes], n)]

    def predict_all(windows: Tensor) -> Tensor:
        total = predict(windows)
        for flipped in combinations[1:]:
            total += predict(windows.flip(flipped)).flip(flipped)
        return total / len(combinations)

    return predict_all


def window_predictor(network: UNet, plan: Plan, precision: torch.dtype, places: Sequence[str]) -> WindowPredictor:
    """Return a predictor of probabilities, followed by the attention at places on the window's grid.

    Attention is above 0, even of a closed gate: 0 marks voxels that no window shows.
    The windows of a 2-D network are slices: one voxel thick along the axis that the network does not see.
    """

    def predict(inputs: Tensor) -> Tensor:
        with torch.autocast(inputs.device.type, dtype=precision, enabled=precision != torch.float32):
            if places:
                finest, weights, _ = network(inputs, full_output=True)
                logits = finest[0].float()
            else:
                logits, weights = network(inputs).float(), {}
        values = [torch.sigmoid(logits) if plan.labels.overlapping else torch.softmax(logits, dim=1)]
        for place in places:
            scalar = weights[place].float().mean(dim=1, keepdim=True).clamp(min=LEAST_WEIGHT)
            values.append(interpolate_to(scalar, inputs.shape[2:]))
        return torch.cat(values, dim=1) if places else values[0]

    return in_slices(predict, plan)


def in_slices(predict: WindowPredictor, plan: Plan) -> WindowPredictor:
    """Return a predictor of windows that gives a 2-D network slices, without the axis that it does not see."""
    if plan.slice_axis is None:
        return predict
    across = 2 + plan.slice_axis
    return lambda windows: predict(windows.squeeze(across)).unsqueeze(across)


def attended_places(network: UNet, plan: Plan, device: torch.device) -> list[str]:
    """Return the places that have attention maps, by trying the network, in eval mode, on a few voxels."""
    network.eval()
    edges = [min(n, TRIAL_EDGE) for n in plan.window]
    image = torch.zeros(1, len(plan.channels), *edges, dtype=torch.float32, device=device)
    output: NetworkOutput = network(image, full_output=True)
    return [place for place in PLACES if place in output.weights]
