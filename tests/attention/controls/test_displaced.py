import pytest
import torch

from attention_unet.attention import build
from attention_unet.attention.base import Place
from attention_unet.attention.controls.displaced import shift
from attention_unet.attention.cost import count_macs
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
