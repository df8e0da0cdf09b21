import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from attention_unet.explanation.randomisation_test import MAX_VOXELS, randomise_weights, rank_correlation
from attention_unet.inference.model_file import load_model


def test_all_weights_are_drawn_anew(run):
    model = load_model(run)
    before = {name: value.clone() for name, value in model.network.state_dict().items()}
    after = randomise_weights(model, 0).network.state_dict()
    assert {name: value.shape for name, value in after.items()} == {name: value.shape for name, value in before.items()}
    drawn = [name for name, value in before.items() if name.endswith("weight") and value.dim() > 1]
    assert len(drawn) > 10
    assert not any(torch.equal(after[name], before[name]) for name in drawn)
    for name, value in model.network.state_dict().items():
        assert torch.equal(value, before[name])  # the model itself is left alone
    again, other = (randomise_weights(model, seed).network.state_dict() for seed in (0, 1))
    assert all(torch.equal(again[name], value) for name, value in after.items())
    assert not any(torch.equal(other[name], after[name]) for name in drawn)
    torch.manual_seed(123)
    state = torch.random.get_rng_state()
    randomise_weights(model, 0)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_similarity_is_spearmans():
    random = np.random.default_rng(0)
    one = random.random((9, 8, 7)).round(1)
    other = one**3 + random.normal(0, 0.1, one.shape)
    assert rank_correlation(one, other) == pytest.approx(spearmanr(one.ravel(), other.ravel()).statistic)
    assert rank_correlation(one, one**3) == pytest.approx(1)
    assert rank_correlation(one, -one) == pytest.approx(-1)
    assert rank_correlation(one, np.zeros_like(one)) == 0
    wide = random.random((320, 320, 40))
    planes = wide.copy()
    planes[..., 0] = random.random((320, 320))  # every 40th voxel
    assert rank_correlation(wide, planes) == pytest.approx(0.975, abs=0.005)
    large = np.arange(3 * MAX_VOXELS, dtype=float)
    assert rank_correlation(large, large**2) == pytest.approx(1)
