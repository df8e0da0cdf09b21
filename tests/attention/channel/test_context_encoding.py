import pytest
import torch

from attention_unet.attention.base import Place
from attention_unet.attention.channel.context_encoding import ContextEncoding
from tests.attention.build import arrays, image, trained
from tests.reference import channel
from tests.reference.dense import convolve, group_norm, sigmoid


@pytest.mark.parametrize("grid", [(4, 3), (4, 3, 2)])
def test_equals_the_sum_over_residuals(grid):
    attention, x = trained(ContextEncoding(Place(len(grid), 4, 4, classes=3))), image(1, 4, *grid)
    p = arrays(attention)
    embedded = group_norm(convolve(x[0].numpy(), p["reduce.weight"]), p["reduce_norm.weight"], p["reduce_norm.bias"])
    e = channel.encode(embedded.clip(min=0), p["codewords"], p["scales"], p["norm.weight"], p["norm.bias"])
    torch.testing.assert_close(attention.encode(x)[0], torch.from_numpy(e))
    expected = sigmoid(p["project.weight"] @ e + p["project.bias"])
    torch.testing.assert_close(attention(x).weights.flatten(), torch.from_numpy(expected))
    torch.testing.assert_close(
        attention.presence(x)[0], torch.from_numpy(p["classify.weight"] @ e + p["classify.bias"])
    )


def test_shares_of_codewords_sum_to_one():
    shares = trained(ContextEncoding(Place(3, 4, 4))).assignment(image(2, 4, 3, 2, 2))
    assert shares.shape == (2, 32, 3, 2, 2)
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(2, 3, 2, 2, dtype=torch.float64))


def test_no_classes_no_presence():
    with pytest.raises(ValueError, match="built without classes"):
        ContextEncoding(Place(2, 4, 4)).presence(torch.randn(1, 4, 3, 3))


def test_an_image_of_one_channel_in_a_batch_of_one():
    x = torch.randn(1, 1, 5, 5)
    assert ContextEncoding(Place(2, 1, 1)).eval()(x).features.shape == x.shape
