"""The algebra: compositions equal their parts put together by hand."""

import pytest
import torch

from attention_unet.attention import build
from tests.attention.build import image, trained


def make(spec, channels=16):
    return trained(build(spec, dims=2, channels=channels, gate_channels=9))


X, GATE = image(1, 16, 6, 8), image(1, 9, 3, 4)


def test_sequence_applies_its_parts_in_order():
    both = make(["gate", "spatial"])
    first = both.parts[0](X, GATE)
    second = both.parts[1](first.features)
    features, weights = both(X, GATE)
    torch.testing.assert_close(features, second.features)
    torch.testing.assert_close(weights, first.weights * second.weights)


def test_cbam_is_its_two_parts_channel_first():
    cbam = make("cbam")
    channel, spatial = cbam.parts
    refined = channel(X).features
    torch.testing.assert_close(cbam(X).features, spatial(refined).features)
    # Both from the same input, as a copied form has it, is something else.
    assert not torch.allclose(cbam(X).features, X * channel(X).weights * spatial(X).weights)


@pytest.mark.parametrize("order", [["cbam_channel", "spatial"], ["spatial", "cbam_channel"]])
def test_either_order(order):
    assert [type(p).__name__ for p in make(order).parts] == [type(make(name)).__name__ for name in order]


def test_cbam_equals_timm():
    cbam = pytest.importorskip("timm.layers.cbam", reason="timm needs torchvision, which is not installed here")
    ours = trained(build("cbam", dims=2, channels=256, init="paper"))
    judge = cbam.CbamModule(256, mlp_bias=True).double().eval()
    channel, spatial = ours.parts
    judge.channel.fc1.weight.data = channel.reduce.weight.data[..., None, None]
    judge.channel.fc1.bias.data = channel.reduce.bias.data
    judge.channel.fc2.weight.data = channel.expand.weight.data[..., None, None]
    judge.channel.fc2.bias.data = channel.expand.bias.data
    judge.spatial.conv.conv.weight.data = spatial.conv.weight.data
    judge.spatial.conv.bn = torch.nn.Identity()  # timm has a normalisation there which the paper has not
    x = image(2, 256, 5, 4)
    torch.testing.assert_close(ours(x).features, judge(x))


@pytest.mark.parametrize("combine", ["max", "add", "mean", "product"])
def test_parallel_joins_features(combine):
    both = make({"parallel": ["se", "sse"], "combine": combine})
    a, b = (part(X).features for part in both.parts)
    expected = {"max": torch.maximum(a, b), "add": a + b, "mean": (a + b) / 2}
    expected["product"] = X * both.parts[0](X).weights * both.parts[1](X).weights
    features, weights = both(X)
    torch.testing.assert_close(features, expected[combine])
    torch.testing.assert_close(features, X * weights)


def test_the_larger_of_two_products_is_mixed():
    """Its weights hang on the sign of every feature."""
    for parts in (["se", "eca"], ["spatial", "sse"]):
        both = make({"parallel": parts})
        assert both.kind == "mixed"
        assert both(X).weights.shape == X.shape
    assert make({"parallel": ["se", "eca"], "combine": "add"}).kind == "channel"


def test_multiscale_of_channels_has_one_weight_a_channel_on_any_grid():
    for n in (1, 2, 4, 8):
        assert make({"multiscale": "se"})(image(1, 16, n, n)).weights.shape == (1, 16, 1, 1)


def test_residual_adds_the_input():
    residual = make({"residual": "gate"})
    inner = residual.inner(X, GATE)
    features, weights = residual(X, GATE)
    torch.testing.assert_close(features, X + inner.features)
    torch.testing.assert_close(weights, 1 + inner.weights)


def test_recursion_of_one_step_is_the_mechanism():
    once = make({"recursive": "gate", "times": 1})
    torch.testing.assert_close(once(X, GATE), once.inner(X, GATE))


def test_recursion_shares_its_parameters_and_gives_the_map_of_each_step():
    thrice = make({"recursive": "gate", "times": 3})
    assert sum(p.numel() for p in thrice.parameters()) == sum(p.numel() for p in make("gate").parameters())
    steps = thrice.steps(X, GATE, True)
    x, product = X, 1.0
    for step in steps:
        expected = thrice.inner(x, GATE)
        torch.testing.assert_close(step, expected)
        x, product = expected.features, product * expected.weights
    features, weights = thrice(X, GATE)
    torch.testing.assert_close(features, x)
    torch.testing.assert_close(weights, product)
    assert not torch.allclose(steps[0].weights, steps[1].weights)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("gat", r"called 'gat' \(did you mean gate\?\); expected one of identity, se, "),
        ("zzz", r"called 'zzz'; expected one of identity, se, "),
        ([], r"expected the name .* got \[\]"),
        (7, "expected the name .* got 7"),
        ({"parallel": ["se"], "recursive": "se"}, "expected a name with options, .* one wrapper with its content"),
        ({"se": 1}, "expected a name with options, as {se: {reduction: 4}}"),
        ({"recursive": "gate", "combine": "add"}, "recursive has no option 'combine': expected times"),
        ({"residual": "gate", "times": 2}, "residual has no option 'times': it has none"),
        ({"parallel": ["se", "sse"], "combine": "min"}, "combine is 'min': expected max, add, mean or product"),
        ({"parallel": ["nonlocal", "se"], "combine": "product"}, "NonLocalBlock does not multiply"),
        ({"recursive": "gate", "times": 0}, "times is 0: expected a whole number, at least 1"),
        ({"parallel": []}, r"a mechanism or a list of mechanisms in parallel, got \[\]"),
        ({"sequential": []}, r"a mechanism or a list of mechanisms in sequential, got \[\]"),
        ({"parallel": 3}, "a mechanism or a list of mechanisms in parallel, got 3"),
        ({"multiscale": "self"}, "SelfAttention does not multiply"),
    ],
)
def test_wrong_specifications_say_what_is_right(spec, message):
    with pytest.raises(ValueError, match=message):
        make(spec)


def test_weights_of_parts_of_which_some_do_not_multiply():
    """Of a sequence the product of those that multiply; of a parallel the first; of the others the map itself."""
    mixed = make(["se", "self", "spatial"])
    first, middle, last = mixed.parts
    x = first(X).features
    between = middle(x, None, True)
    expected = first(X).weights * last(between.features).weights
    torch.testing.assert_close(mixed(X, None, True).weights, expected)
    both = make({"parallel": ["self", "se"], "combine": "add"})
    torch.testing.assert_close(both(X, None, True).weights, both.parts[0](X, None, True).weights)
    for spec in ({"residual": "self"}, {"recursive": "self", "times": 2}):
        wrapped = make(spec)
        x = X if "residual" in spec else wrapped.inner(X).features
        torch.testing.assert_close(wrapped(X, None, True).weights, wrapped.inner(x, None, True).weights)


@pytest.mark.parametrize("wrap", [lambda a, b: [a, b], lambda a, b: {"parallel": [a, b]}])
def test_properties_are_those_of_the_parts(wrap):
    both = make(wrap("se", "gate"))
    assert (both.kind, both.needs_gate, both.multiplies) == ("mixed", True, True)
    other = make(wrap("self", "identity"))
    assert (other.needs_gate, other.multiplies) == (False, False)
    assert not make(["se", "self"]).multiplies


def test_weights_of_a_sequence_of_which_none_multiplies_are_the_last():
    both = make(["self", "nonlocal"])
    first = both.parts[0](X)
    torch.testing.assert_close(both(X, None, True).weights, both.parts[1](first.features, None, True).weights)


@pytest.mark.parametrize("combine", ["max", "mean", "add"])
def test_parallel_joins_features_of_which_some_are_not_weighted(combine):
    both = make({"parallel": ["nonlocal", "se"], "combine": combine})
    a, b = (part(X).features for part in both.parts)
    expected = {"max": torch.maximum(a, b), "mean": (a + b) / 2, "add": a + b}[combine]
    torch.testing.assert_close(both(X).features, expected)
    alone = make({"parallel": ["identity", "se"], "combine": combine})
    torch.testing.assert_close(alone(X).weights, alone.parts[1](X).weights)


@pytest.mark.parametrize(("inner", "scales"), [("gate", 3), ("cbam", 3), ("spatial", 2)])
@pytest.mark.parametrize("grid", [(6, 8), (7, 9), (6, 5, 8)])
def test_multiscale_mixes_weights_of_averages(inner, scales, grid):
    several = trained(build({"multiscale": inner, "scales": scales}, dims=len(grid), channels=16, gate_channels=9))
    x, gate = image(1, 16, *grid), image(1, 9, *(-(-n // 2) for n in grid))
    pool = torch.nn.functional.adaptive_avg_pool2d if len(grid) == 2 else torch.nn.functional.adaptive_avg_pool3d
    mode = "bilinear" if len(grid) == 2 else "trilinear"
    expected = 0
    for scale, (part, share) in enumerate(zip(several.inners, torch.softmax(several.preference, dim=0), strict=True)):
        weights = part(pool(x, [-(-n // 2**scale) for n in grid]), gate).weights
        expected = expected + share * torch.nn.functional.interpolate(weights, grid, mode=mode)
    features, weights = several(x, gate)
    torch.testing.assert_close(weights, expected)
    torch.testing.assert_close(features, x * weights)
