import pytest
import torch

from attention_unet.attention import build
from attention_unet.attention.base import Place
from attention_unet.attention.controls import shift
from attention_unet.attention.cost import count_macs
from attention_unet.network import Architecture, AttentionUNet
from attention_unet.network.blocks import Block
from tests.attention.build import image, trained

CONTENTS = ["gate", "se", "scse", "nonlocal", "selective_kernel", "stn", ["se", "spatial"], {"residual": "spatial"}]
X, GATE = image(2, 16, 7, 6), image(2, 9, 4, 3)


def pair(spec):
    """Return a mechanism and its displaced form, with the same parameters."""
    own, displaced = (build(each, dims=2, channels=16, gate_channels=9) for each in (spec, {"displaced": spec}))
    trained(own, std=0.5)
    displaced.double().eval().inner.load_state_dict(own.state_dict())
    return own, displaced


def test_shift_moves_every_voxel_by_at_least_one_place():
    values = torch.arange(2 * 3 * 5 * 1.0).reshape(2, 3, 5, 1)
    for shares, places in (([0.0, 0.0, 0.9], (1, 1)), ([0.5, 0.5, 0.5], (2, 3)), ([0.999, 0.999, 0.0], (2, 4))):
        moved = shift(values, shares)
        for channel in range(3):
            for i in range(5):
                assert torch.equal(moved[:, (channel + places[0]) % 3, (i + places[1]) % 5], values[:, channel, i])


def test_two_places_are_swapped_and_one_stays():
    values = torch.randn(1, 2, 1, 3)
    assert torch.equal(shift(values, [0.0, 0.9, 0.0]), values.flip(1).roll(1, dims=3))


@pytest.mark.parametrize("spec", CONTENTS, ids=str)
def test_the_weights_are_those_of_the_mechanism_elsewhere(spec):
    own, displaced = pair(spec)
    expected, found = own(X, GATE, True), displaced(X, GATE, True)
    halves = [0.5] * 3
    if expected.weights is not None:
        torch.testing.assert_close(found.weights, shift(expected.weights, halves))
    if own.multiplies:
        torch.testing.assert_close(found.features, X * shift(expected.weights, halves))
    else:
        torch.testing.assert_close(found.features - X, shift(expected.features - X, halves))
    assert float((found.features - expected.features).abs().max()) > 1e-3
    assert torch.equal(displaced(X, GATE).features, displaced(X, GATE).features)
    assert (displaced.kind, displaced.needs_gate, displaced.multiplies) == (own.kind, own.needs_gate, own.multiplies)


@pytest.mark.parametrize("spec", CONTENTS, ids=str)
def test_it_costs_what_the_mechanism_costs_and_learns(spec):
    own, displaced = pair(spec)
    assert [p.shape for p in own.parameters()] == [p.shape for p in displaced.parameters()]
    assert count_macs(own.float(), (X.float(), GATE.float())) == count_macs(
        displaced.float(), (X.float(), GATE.float())
    )
    own, displaced = pair(spec)
    displaced.train()(X, GATE).features.square().sum().backward()
    assert all(p.grad is not None and float(p.grad.abs().max()) > 0 for p in displaced.parameters())


def test_in_training_the_offset_changes_with_each_call_and_repeats_under_a_seed():
    _, displaced = pair("gate")
    displaced.train()
    maps = []
    for seed in (1, 1, 2, 3, 4):
        torch.manual_seed(seed)
        maps.append(displaced(X, GATE).weights)
    assert torch.equal(maps[0], maps[1])
    assert len({float(weights[0, 0, 0, 0]) for weights in maps}) > 2
    own = displaced.inner(X, GATE).weights
    assert not any(torch.equal(weights, own) for weights in maps)
    assert all(torch.equal(weights.flatten(1).sort().values, own.flatten(1).sort().values) for weights in maps)


def test_an_open_start_is_as_open():
    x = torch.randn(1, 16, 6, 5)
    assert torch.equal(build({"displaced": "self"}, dims=2, channels=16).eval()(x).features, x)
    weights = build({"displaced": "se"}, dims=2, channels=16).eval()(x).weights
    assert 0.91 < float(weights.min()) <= float(weights.max()) < 1
    with pytest.raises(ValueError, match="displaced has no option"):
        build({"displaced": "se", "by": 3}, dims=2, channels=16)


def test_it_sits_where_the_mechanism_sits():
    blocks = [Block(2, 3, 4, (3, 3), (1, 1), 2, False, spec, Place(2, 4, 4)) for spec in ("gct", {"displaced": "gct"})]
    plain, displaced = ([type(layer).__name__ for layer in block.body] for block in blocks)
    assert plain == displaced
    assert plain.count("FeaturesOf") == 2


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
