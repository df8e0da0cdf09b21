"""Networks with random weights, and how much two attention maps are alike.

Adebayo et al., "Sanity Checks for Saliency Maps", arXiv:1810.03292: a map that stays the same when the weights are
drawn anew shows the image or the architecture. The opposite does not show learning: two random networks may differ as
much.
"""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata

from attention_unet.inference.model import Model
from attention_unet.inference.window_predictor import put_channels_last
from attention_unet.network import AttentionUNet

COMPARED = 100_000  # voxels of a map, at most


def randomised(model: Model, seed: int) -> Model:
    """A model of the same architecture with weights as before a training."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = AttentionUNet(**model.plan.architecture)
    put_channels_last(network)
    return replace(model, network=network.to(model.device).eval())


def similarity(one: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    """Spearman's rank correlation of two maps, -1 to 1, over at most ``COMPARED`` voxels; 0 if one is constant."""
    step = max(one.size // COMPARED, 1)
    ranks = [rankdata(values.ravel()[::step]) for values in (one, other)]
    if any(np.ptp(of) == 0 for of in ranks):
        return 0.0
    return float(np.corrcoef(*ranks)[0, 1])
