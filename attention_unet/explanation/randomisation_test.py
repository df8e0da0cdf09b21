"""Randomise the weights of a network, and compare attention maps: the randomisation test.

Adebayo et al., "Sanity Checks for Saliency Maps", arXiv:1810.03292: a map that stays the same with random weights shows
the image or the architecture. A map that changes does not prove learning: two random networks may differ as much.
"""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata

from attention_unet.inference.model import Model
from attention_unet.inference.window_predictor import place_network
from attention_unet.network import AttentionUNet

MAX_VOXELS = 100_000  # of a map that are compared


def randomise_weights(model: Model, seed: int) -> Model:
    """Return a model of the same architecture with the random weights that a training starts from."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = AttentionUNet(model.plan.architecture)
    return replace(model, network=place_network(network, model.device).eval())


def rank_correlation(one: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    """Return Spearman's rank correlation of two maps, -1 to 1, on ``MAX_VOXELS`` voxels at most; 0 if one is constant.

    Voxels where one is NaN are left out.
    """
    known = ~(np.isnan(one) | np.isnan(other))
    count = int(known.sum())
    chosen = np.arange(count)
    if count > MAX_VOXELS:  # at equal steps, some planes would have no voxel
        chosen = np.random.default_rng(0).choice(count, MAX_VOXELS, replace=False, shuffle=False)
    ranks = [rankdata(values[known][chosen]) for values in (one, other)]
    if not count or any(np.ptp(each) == 0 for each in ranks):
        return 0.0
    return float(np.corrcoef(*ranks)[0, 1])
