import numpy as np
import pytest
import torch

from attention_unet.attention.base import Place
from attention_unet.attention.kernel.selective_kernel import SelectiveKernel
from tests.attention.build import arrays, image, trained
from tests.reference.dense import group_norm
from tests.reference.heads import selective
from tests.reference.mixed import dilated


@pytest.mark.parametrize("init", ["open", "paper"])
@pytest.mark.parametrize(("grid", "kernels"), [((5, 4), 2), ((5, 4), 3), ((3, 5, 4), 2)])
def test_equals_the_equation(grid, kernels, init):
    attention = trained(SelectiveKernel(Place(len(grid), 4, 4, init=init), kernels=kernels))
    p, x = arrays(attention), image(2, 4, *grid)
    result = attention(x)
    for case, features, weights in zip(x.numpy(), result.features, result.weights, strict=True):
        parts = [dilated(case, p[f"branches.{k}.0.weight"], np.zeros(4), k + 1, groups=4) for k in range(kernels)]
        if init == "paper":
            norms = [(p[f"branches.{k}.1.weight"], p[f"branches.{k}.1.bias"]) for k in range(kernels)]
            parts = [np.maximum(group_norm(part, *norm), 0) for part, norm in zip(parts, norms, strict=True)]
        shares = selective(
            parts,
            p["reduce.0.weight"],
            (p["reduce.1.weight"], p["reduce.1.bias"]),
            (p["choose.weight"], p["choose.bias"]),
        )
        expected = sum(s.reshape(-1, *[1] * len(grid)) * part for s, part in zip(shares, parts, strict=True))
        torch.testing.assert_close(weights.flatten(), torch.from_numpy(shares.ravel()))
        torch.testing.assert_close(features, torch.from_numpy(expected))


def test_width_is_the_published_one():
    assert SelectiveKernel(Place(2, 1024, 1024)).reduce[0].out_features == 64
    assert SelectiveKernel(Place(2, 256, 256)).reduce[0].out_features == 32
    assert SelectiveKernel(Place(2, 8, 8)).reduce[0].out_features == 8
    assert len(SelectiveKernel(Place(2, 8, 8)).branches) == 2


def test_the_open_form_starts_as_the_identity():
    x = image(1, 8, 6, 5)
    torch.testing.assert_close(SelectiveKernel(Place(2, 8, 8)).double()(x).features, x)
