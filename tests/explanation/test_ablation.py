import pytest
import torch

from attention_unet.explanation.ablation import ABLATIONS, ablated, possible_ablations
from attention_unet.network import Architecture, AttentionUNet


def network_of(skips="identity", bottleneck="identity", encoder="identity"):
    torch.manual_seed(0)
    architecture = Architecture(
        channels=(4, 8, 12), skips=skips, bottleneck=bottleneck, encoder=encoder, norm="instance", init="paper"
    )
    return AttentionUNet(architecture).eval()


def test_what_can_be_altered():
    assert possible_ablations(network_of()) == ()
    assert possible_ablations(network_of(skips="gate")) == ABLATIONS
    assert possible_ablations(network_of(skips="cbam")) == ABLATIONS
    assert possible_ablations(network_of(skips="gate", bottleneck="nonlocal")) == ("removed",)
    assert list(network_of(skips="gate", bottleneck="nonlocal").attentions()) == ["skip 1", "bottleneck"]


@pytest.mark.parametrize(("skips", "bottleneck"), [("gate", "identity"), ("identity", "spatial"), ("gate", "spatial")])
def test_removed_is_the_same_network_without_attention(skips, bottleneck):
    attended, plain = network_of(skips, bottleneck), network_of()
    left = {name: value for name, value in attended.state_dict().items() if name in plain.state_dict()}
    plain.load_state_dict(left)
    x = torch.randn(2, 1, 12, 16, 8)
    with torch.no_grad():
        before = attended(x)
        with ablated(attended, "removed"):
            torch.testing.assert_close(attended(x), plain(x))
        torch.testing.assert_close(attended(x), before)
    assert not torch.allclose(before, plain(x), atol=1e-3)


@pytest.mark.parametrize("skips", ["gate", "identity"])
def test_attention_before_convolutions_is_removed_too(skips):
    network, x = network_of(skips, encoder="gct"), torch.randn(2, 1, 12, 16, 8)
    assert possible_ablations(network) == ABLATIONS
    with torch.no_grad():
        with ablated(network, "removed"):
            expected = network(x)  # `gct` is the identity until it is trained
        for name, parameter in network.named_parameters():
            if name.endswith("attention.beta"):
                torch.nn.init.normal_(parameter)
        with ablated(network, "removed"):
            torch.testing.assert_close(network(x), expected)
        assert not torch.allclose(network(x), expected, atol=1e-3)


@pytest.mark.parametrize("name", ["gate", "se", "cbam"])
def test_constant_keeps_the_mean(name):
    network = network_of(skips=name)
    attention, x = network.attentions()["skip 1"], torch.randn(2, 8, 6, 8, 4)
    gate = torch.randn(2, 12, 3, 4, 2)
    with torch.no_grad():
        weights = attention(x, gate).weights
        with ablated(network, "constant"):
            features, constant = attention(x, gate)
    expected = weights.flatten(1).mean(dim=1).view(2, 1, 1, 1, 1)
    torch.testing.assert_close(constant, expected.expand_as(weights))
    torch.testing.assert_close(features, x * expected)


def test_an_error_leaves_the_network_as_it_was():
    network, x = network_of(skips="gate"), torch.randn(1, 1, 8, 8, 8)
    with torch.no_grad():
        before = network(x)
        with pytest.raises(RuntimeError, match="stop"), ablated(network, "removed"):
            raise RuntimeError("stop")
        torch.testing.assert_close(network(x), before)
