import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from attention_unet.explanation.randomisation import COMPARED, randomised, similarity
from attention_unet.inference.model import load_model

GATE = "decoder.0.attention."  # of level 1


@pytest.mark.parametrize(
    ("stage", "drawn"),
    [
        ("attention", [GATE]),
        ("decoder", [GATE, "decoder.", "heads."]),
        ("all", [GATE, "decoder.", "heads.", "encoder."]),
    ],
)
def test_what_is_drawn_anew(run, stage, drawn):
    model = load_model(run)
    assert model.network.architecture["skips"] == {"1": "gate"}
    before = {name: value.clone() for name, value in model.network.state_dict().items()}
    after = randomised(model, stage).network.state_dict()
    for part in (GATE, "decoder.0.block.", "decoder.1.up.", "heads.", "encoder.0.", "encoder.2."):
        weights = [
            name for name in before if name.startswith(part) and name.endswith("weight") and before[name].dim() > 1
        ]
        assert weights
        for name in weights:
            assert torch.equal(after[name], before[name]) != part.startswith(tuple(drawn)), name
    for name, value in model.network.state_dict().items():
        assert torch.equal(value, before[name])  # the model itself is left alone
    again = randomised(model, stage).network.state_dict()
    assert all(torch.equal(again[name], value) for name, value in after.items())
    torch.manual_seed(123)
    state = torch.random.get_rng_state()
    randomised(model, stage)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_similarity_is_spearmans():
    random = np.random.default_rng(0)
    one = random.random((9, 8, 7)).round(1)
    other = one**3 + random.normal(0, 0.1, one.shape)
    assert similarity(one, other) == pytest.approx(spearmanr(one.ravel(), other.ravel()).statistic)
    assert similarity(one, one**3) == pytest.approx(1)
    assert similarity(one, -one) == pytest.approx(-1)
    assert similarity(one, np.zeros_like(one)) == 0
    large = np.arange(3 * COMPARED, dtype=float)
    assert similarity(large, large**2) == pytest.approx(1)
