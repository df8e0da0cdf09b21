"""What breaks the contract of mechanisms is named."""

import pytest
import torch

from attention_unet.attention import Attended, Attention
from attention_unet.attention.base import check_contract


class Wrong(Attention):
    """A mechanism that returns what it is told to."""

    kind = "mixed"

    def __init__(self, result):
        super().__init__()
        self.result = result

    def forward(self, x, gate=None, with_map=False):
        return self.result(x)


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (lambda x: x, r"Wrong\.forward returned a Tensor: expected Attended\(features, weights\)"),
        (
            lambda x: Attended(x[:, :1], None),
            r"returned features \(1, 1, 4, 4\) of torch\.float32: expected \(1, 3, 4, 4\)",
        ),
        (
            lambda x: Attended(x.double(), None),
            r"returned features .* of torch\.float64: expected .* of torch\.float32",
        ),
        (lambda x: Attended(x, torch.ones(1, 3)), r"returned weights \(1, 3\): expected \(B, C, 1, \.\.\.\)"),
        (lambda x: Attended(x, torch.ones(1, 1, 3, 4)), r"returned weights \(1, 1, 3, 4\): expected"),
        (lambda x: Attended(x / 2, torch.ones(1, 1, 4, 4)), "returned features that are not x times the weights"),
        (lambda x: Attended(x / 2, None), "returned no weights: return the factors of the input, or set multiplies"),
        (lambda x: Attended(x / 0, None), "returned features that are NaN or infinite"),
    ],
)
def test_what_breaks_the_contract_is_named(result, message):
    x = torch.ones(1, 3, 4, 4)
    with pytest.raises(ValueError, match=message):
        check_contract(Wrong(result), x, x)
    check_contract(Wrong(lambda x: Attended(x / 2, torch.full((1, 1, 4, 4), 0.5))), x, x)


@pytest.mark.parametrize(
    ("kind", "weights"), [("spatial", (1, 3, 1, 1)), ("spatial", (1, 3, 4, 4)), ("channel", (1, 1, 4, 4))]
)
def test_weights_fit_the_kind(kind, weights):
    x, factors = torch.ones(1, 3, 4, 4), torch.full(weights, 0.5)
    attention = Wrong(lambda x: Attended(x * factors, factors))
    check_contract(attention, x, x)
    attention.kind = kind
    with pytest.raises(ValueError, match=rf"of kind {kind} returned weights"):
        check_contract(attention, x, x)


class Hurried(Wrong):
    """A mechanism that does something else if its weights are not shown."""

    def forward(self, x, gate=None, with_map=False):
        return self.result(x) if with_map else Attended(x / 2 if self.multiplies else x + 1, None)


@pytest.mark.parametrize(("multiplies", "message"), [(True, "no weights without with_map"), (False, "other features")])
def test_results_do_not_depend_on_what_is_shown(multiplies, message):
    x = torch.ones(1, 3, 4, 4)
    attention = Hurried(lambda x: Attended(x / 2, torch.full((1, 1, 4, 4), 0.5)))
    attention.multiplies = multiplies
    with pytest.raises(ValueError, match=message):
        check_contract(attention, x, x)
