import pytest
import torch

from attention_unet.attention import build
from attention_unet.network import Architecture, AttentionUNet
from tests.attention.build import image, trained


@pytest.mark.parametrize(("content", "shape"), [("gate", (1, 8, 8)), ("se", (16, 1, 1)), ("scse", (16, 8, 8))])
def test_weights_depend_on_the_place_or_channel_and_never_on_the_image(content, shape):
    template = trained(build({"template": content}, dims=2, channels=16, gate_channels=9))
    assert template.difference.shape == (1, *shape)
    assert not template.needs_gate
    features, weights = template(image(2, 16, 8, 8))
    expected = torch.sigmoid(3 + template.difference).expand(2, *shape)
    torch.testing.assert_close(weights, expected)
    torch.testing.assert_close(features, image(2, 16, 8, 8) * expected)
    assert torch.equal(weights, template(5 * image(2, 16, 8, 8).flip(2)).weights)


def test_places_are_resampled_to_the_grid():
    template = trained(build({"template": "spatial"}, dims=3, channels=4))
    assert template.difference.shape == (1, 1, 8, 8, 8)
    weights = template(image(1, 4, 5, 16, 1)).weights
    assert weights.shape == (1, 1, 5, 16, 1)
    small = trained(build({"template": "spatial"}, dims=2, channels=4))
    halved = torch.logit(small(image(1, 4, 4, 4)).weights) - 3
    means = small.difference.unfold(2, 2, 2).unfold(3, 2, 2).mean(dim=(4, 5))
    torch.testing.assert_close(halved, means)  # midway between the learned places


def test_starts():
    for init, weight in (("open", 0.952574), ("paper", 0.5)):
        template = build({"template": "gate"}, dims=2, channels=4, init=init)
        found = template(torch.randn(1, 4, 6, 6)).weights
        torch.testing.assert_close(found, torch.full((1, 1, 6, 6), weight))
    for content, message in (
        ("self", "SelfAttention does not multiply its input by such"),
        ("selective_kernel", "SelectiveKernel does not"),
        ({"template": ["se", "self"]}, "Sequential does not"),
        ({"template": "gate", "edge": 4}, "template has no option"),
    ):
        with pytest.raises(ValueError, match=message):
            build(content if isinstance(content, dict) else {"template": content}, dims=2, channels=4)


def test_controls_stand_on_skips_and_in_blocks():
    network = AttentionUNet(
        Architecture(2, channels=(8, 12, 16), skips={"displaced": "gate"}, encoder={"template": "se"}, levels=[0, 1])
    ).eval()
    found = {place: type(attention).__name__ for place, attention in network.attentions().items()}
    assert found == {
        "skip 0": "Displaced", "skip 1": "Displaced", "encoder 0": "Template", "encoder 1": "Template",
    }  # fmt: skip
    assert network(torch.randn(1, 1, 16, 16)).shape == (1, 2, 16, 16)
