import pytest
import torch

from attention_unet.attention import build
from attention_unet.attention.specification import with_option, write_spec


def test_options_reach_the_mechanism():
    assert build({"se": {"reduction": 4}}, dims=2, channels=64).reduce.out_features == 16
    assert build({"eca": {"kernel": 7}}, dims=2, channels=64).conv.kernel_size == (7,)
    assert build({"recursive": {"conv_spatial": {"reduction": 2}}, "times": 5}, dims=2, channels=8).times == 5
    both = build(["gct", {"multi_gate": {"gates": 3}}], dims=2, channels=8)
    assert len(both.parts[1].gates) == 3


def test_a_wrapper_with_an_option_keeps_what_its_name_stands_for():
    named, other = (build(spec, dims=2, channels=8) for spec in ("parallel", with_option("parallel", "combine", "add")))
    assert [type(part) for part in named.parts] == [type(part) for part in other.parts]
    x = torch.randn(1, 8, 4, 4)
    assert not torch.equal(named(x).features, other(x).features)
    assert with_option("se", "reduction", 4) == {"se": {"reduction": 4}}


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ("gate", "gate"),
        ({"se": {"reduction": 4}}, "{se: {reduction: 4}}"),
        ({"parallel": ["se", "sse"], "combine": "add"}, "{combine: add, parallel: [se, sse]}"),
    ],
)
def test_a_specification_is_written_as_in_a_configuration(spec, text):
    assert write_spec(spec) == text


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"se": {"reduction": 4}, "sse": {}}, "expected a name with options"),
        ({"gate": {"hidden": 1.5}}, "gate: hidden is 1.5"),
        ({"eca": {"kernel": 4}}, "kernel is 4: expected an odd number"),
        ("se,gate", r"write several as a list: \[se, gate\]"),
    ],
)
def test_wrong_specifications_are_refused(spec, message):
    with pytest.raises(ValueError, match=message):
        build(spec, dims=2, channels=8)
