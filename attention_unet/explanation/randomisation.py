"""Whether attention shows what was learned: with random parameters its maps should be others.

Adebayo et al., "Sanity Checks for Saliency Maps", arXiv:1810.03292.
"""

import copy
from dataclasses import replace
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata

from attention_unet.explanation.alteration import attentions_of
from attention_unet.inference.model import Model
from attention_unet.network import AttentionUNet

# The parameters that are drawn anew, those of the stage before included.
Stage = Literal["attention", "decoder", "all"]
STAGES: tuple[Stage, ...] = get_args(Stage)
COMPARED = 100_000  # voxels of a map, at most


def randomised(model: Model, stage: Stage, seed: int = 0) -> Model:
    """A copy of a model with parameters as before a training, up to a stage."""
    network = copy.deepcopy(model.network)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh = AttentionUNet(**model.plan.architecture).state_dict()
    attentions = list(attentions_of(network).values())
    drawn = [f"{name}." for name, module in network.named_modules() if any(module is a for a in attentions)]
    drawn += {"attention": [], "decoder": ["decoder.", "heads."], "all": [""]}[stage]
    state = {
        name: fresh[name].to(value.device) if name.startswith(tuple(drawn)) else value
        for name, value in network.state_dict().items()
    }
    network.load_state_dict(state)
    return replace(model, network=network)


def similarity(one: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    """Spearman's rank correlation of two maps, -1 to 1, over at most ``COMPARED`` voxels; 0 if one is constant."""
    step = max(one.size // COMPARED, 1)
    ranks = [rankdata(values.ravel()[::step]) for values in (one, other)]
    if any(np.ptp(of) == 0 for of in ranks):
        return 0.0
    return float(np.corrcoef(*ranks)[0, 1])
