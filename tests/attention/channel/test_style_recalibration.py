import numpy as np
import pytest
import torch

from attention_unet.attention.base import Place
from attention_unet.attention.channel.style_recalibration import StyleRecalibration
from tests.attention.build import arrays, image, trained
from tests.reference import channel
from tests.reference.dense import sigmoid


@pytest.mark.parametrize(("scale", "grid"), [(1.0, (3, 4, 2)), (1e-3, (3, 4, 2)), (1.0, (2, 1, 1))])
def test_equals_the_equation(scale, grid):
    attention, x = trained(StyleRecalibration(Place(3, 5, 5))), scale * image(1, 5, *grid)
    expected = sigmoid(channel.style(x[0].numpy(), arrays(attention)["style"]) + arrays(attention)["bias"])
    torch.testing.assert_close(attention(x).weights.flatten(), torch.from_numpy(expected), atol=1e-7, rtol=1e-7)


def test_published_form_normalises_over_the_batch():
    attention, x = trained(StyleRecalibration(Place(3, 5, 5, init="paper"))).train(), image(3, 5, 3, 4)
    p = arrays(attention)
    z = np.stack([channel.style(case, p["style"]) for case in x.numpy()])
    expected = torch.from_numpy(sigmoid(channel.batch_norm(z, p["norm.weight"], p["norm.bias"])))
    torch.testing.assert_close(attention(x).weights.flatten(1), expected, atol=1e-4, rtol=1e-4)


def test_published_form_starts_at_one_half_and_takes_a_batch_of_one():
    weights = StyleRecalibration(Place(3, 5, 5, init="paper")).double().train()(image(1, 5, 3, 4)).weights
    torch.testing.assert_close(weights, torch.full_like(weights, 0.5))


def test_the_published_form_runs_in_bfloat16():
    x = torch.randn(2, 8, 6, 5).bfloat16()
    attention = StyleRecalibration(Place(2, 8, 8, init="paper")).bfloat16()
    assert attention.train()(x).features.dtype == torch.bfloat16
    assert attention.eval()(x).features.dtype == torch.bfloat16
