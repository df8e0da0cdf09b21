import numpy as np
import pytest
import torch

from attention_unet.attention.base import Place
from attention_unet.attention.mixed.bilinear import BilinearAttention
from tests.attention.build import arrays, image, trained
from tests.reference.dense import convolve, group_norm, sigmoid


def reference(x, p, published):
    reduced = np.maximum(
        group_norm(convolve(x, p["reduce.0.weight"], p["reduce.0.bias"]), p["reduce.1.weight"], p["reduce.1.bias"]),
        0,
    )
    pairs = np.stack([reduced[i] * reduced[j] for i in range(len(reduced)) for j in range(i + 1)])
    outer = convolve(pairs, p["outer.weight"], p["outer.bias"])
    inner = p["inner.weight"] @ pairs.reshape(len(pairs), -1).mean(axis=1) + p["inner.bias"]
    bias = 0 if published else p["bias"]
    if published:
        outer = np.maximum(group_norm(outer, p["outer_norm.weight"], p["outer_norm.bias"]), 0)
        normed = (inner - inner.mean()) / np.sqrt(inner.var() + 1e-5) * p["inner_norm.weight"] + p["inner_norm.bias"]
        inner = np.maximum(normed, 0)
    return sigmoid((inner * outer.T + bias).T)


@pytest.mark.parametrize("init", ["open", "paper"])
@pytest.mark.parametrize("grid", [(4, 3), (4, 3, 2)])
def test_equals_the_equation(grid, init):
    attention, x = trained(BilinearAttention(Place(len(grid), 6, 6, init=init))), image(1, 6, *grid)
    expected = reference(x[0].numpy(), arrays(attention), init == "paper")
    torch.testing.assert_close(attention(x).weights[0], torch.from_numpy(expected))


def test_only_the_published_form_cannot_suppress():
    x = image(1, 16, 6, 6)
    lowest = {
        init: trained(BilinearAttention(Place(2, 16, 16, init=init)))(x).weights.min() for init in ("open", "paper")
    }
    assert lowest["paper"] >= 0.5
    assert lowest["open"] < 0.5
