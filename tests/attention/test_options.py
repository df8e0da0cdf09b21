import inspect
from typing import Any, Literal

import pytest
import torch

from attention_unet.attention import NAMES, WRAPPERS, build, find_mechanism
from attention_unet.attention.options import check_options, options_of


class Tuned:
    def __init__(
        self,
        place: object,
        *,
        width: int = 4,
        tau: float = 0.5,
        scaled: bool = True,
        size: int | None = None,
        mode: Literal["add", "max", "mean"] = "add",
    ) -> None: ...


def test_options_are_the_keywords_with_type_and_default():
    options = options_of(Tuned)
    assert {name: (o.default, o.kind, o.expected) for name, o in options.items()} == {
        "width": (4, int, "a whole number, at least 1"),
        "tau": (0.5, float, "a number above 0"),
        "scaled": (True, bool, "true or false"),
        "size": (None, int, "a whole number, at least 1, or null for the mechanism's own rule"),
        "mode": ("add", str, "add, max or mean"),
    }


@pytest.mark.parametrize(
    ("values", "checked"),
    [
        ({}, {}),
        ({"width": 8}, {"width": 8}),
        ({"tau": 2}, {"tau": 2.0}),
        ({"size": None}, {"size": None}),
        ({"scaled": False, "mode": "max"}, {"scaled": False, "mode": "max"}),
    ],
)
def test_right_values_keep_their_type(values, checked):
    found = check_options(Tuned, "tuned", values)
    assert found == checked
    assert [type(value) for value in found.values()] == [type(value) for value in checked.values()]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"widht": 8}, "tuned has no option 'widht': expected width, tau, scaled, size, mode"),
        ({"width": 8.0}, "tuned: width is 8.0: expected a whole number, at least 1"),
        ({"width": True}, "tuned: width is True: expected a whole number"),
        ({"width": 0}, "tuned: width is 0: expected a whole number, at least 1"),
        ({"width": None}, "tuned: width is None: expected a whole number"),
        ({"width": "8"}, "tuned: width is '8': expected a whole number"),
        ({"tau": -1.0}, "tuned: tau is -1.0: expected a number above 0"),
        ({"scaled": 1}, "tuned: scaled is 1: expected true or false"),
        ({"mode": "min"}, "tuned: mode is 'min': expected add, max or mean"),
        ({"mode": ["add"]}, r"tuned: mode is \['add'\]: expected add, max or mean"),
    ],
)
def test_wrong_values_are_refused_with_what_is_expected(values, message):
    with pytest.raises(ValueError, match=message):
        check_options(Tuned, "tuned", values)


def test_an_option_that_no_configuration_can_hold():
    class Odd:
        def __init__(self, place: object, *, layers: Any = ()) -> None: ...

    class Missing:
        def __init__(self, place: object, *, width: int) -> None: ...

    for mechanism in (Odd, Missing):
        with pytest.raises(TypeError, match="expected bool, int, float or a Literal of words, and a default"):
            options_of(mechanism)


@pytest.mark.parametrize("name", NAMES)
def test_the_docstring_explains_every_option(name):
    mechanism = find_mechanism(name)
    for option in options_of(mechanism):
        assert f"\n    {option}: " in inspect.getdoc(mechanism), option


OTHERS = {"reduction": 1, "kernel": 5, "dilation": 2, "size": 3, "heads": 2, "keys": 16, "hidden": 4, "width": 8}
OTHERS |= {"frequencies": 4, "temperature": 5.0}
OPTIONS = [(name, option) for name in NAMES for option in options_of(find_mechanism(name))]


@pytest.mark.parametrize(("name", "option"), OPTIONS)
def test_every_option_changes_the_mechanism(name, option):
    """Its parameters, or with the same parameters its result or its gradient."""
    described = options_of(find_mechanism(name))[option]
    words = [word.strip() for word in described.expected.replace(" or ", ", ").split(",")]
    other = {
        bool: lambda: not described.default,
        str: lambda: next(word for word in words if word != described.default),
        int: lambda: OTHERS.get(option, (described.default or 0) * 2),
        float: lambda: OTHERS.get(option, 1.5),
    }[described.kind]()
    wrapped = {"sequential": ["se", "spatial"], "parallel": ["se", "spatial"]}.get(name, "gate")

    def result(**options):
        torch.manual_seed(0)
        spec = {name: wrapped if name in WRAPPERS else options}
        if name in WRAPPERS:
            spec |= options
        attention = build(spec if options or name in WRAPPERS else name, dims=2, channels=64, gate_channels=64)
        torch.manual_seed(1)
        for parameter in attention.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        shapes = [tuple(parameter.shape) for parameter in attention.parameters()]
        torch.manual_seed(2)
        x, gate = torch.randn(1, 64, 8, 8, requires_grad=True), torch.randn(1, 64, 4, 4)
        features, weights = attention(x, gate, True)
        features.square().sum().backward()
        return shapes, features, weights, x.grad

    shapes, *values = result()
    other_shapes, *other_values = result(**{option: other})
    same = shapes == other_shapes and all(torch.equal(a, b) for a, b in zip(values, other_values, strict=True))
    assert not same, f"{name}: {option} from {described.default} to {other} changes nothing"
