import numpy as np
import pytest
import torch

from attention_unet.attention.base import Place
from attention_unet.attention.spatial.additive_gate import AdditiveGate
from tests.attention.build import arrays, trained
from tests.reference.additive_gate import gate_alpha
from tests.reference.dense import interpolate


def make(dims, stride=2):
    return trained(AdditiveGate(Place(dims, 4, 5, stride)))


@pytest.mark.parametrize(("dims", "stride", "coarse"), [(2, 2, (3, 4)), (3, 2, (2, 3, 2)), (3, (2, 2, 1), (2, 3, 4))])
def test_equals_the_equation(dims, stride, coarse):
    gate = make(dims, stride)
    steps = (stride,) * dims if isinstance(stride, int) else stride
    x = torch.randn(1, 4, *(n * s for n, s in zip(coarse, steps, strict=True)), dtype=torch.float64)
    signal = torch.randn(1, 5, *coarse, dtype=torch.float64)
    p = arrays(gate)
    projections = (p[f"project_{name}"] for name in ("x.weight", "gate.weight", "gate.bias"))
    expected = gate_alpha(x[0].numpy(), signal[0].numpy(), *projections, p["psi.weight"].ravel(), p["psi.bias"].item())
    upsampled = torch.nn.functional.interpolate(
        torch.from_numpy(expected)[None, None], x.shape[2:], mode="bilinear" if dims == 2 else "trilinear"
    )
    features, weights = gate(x, signal)
    np.testing.assert_allclose(weights.detach().numpy(), upsampled.numpy(), atol=1e-12)
    np.testing.assert_allclose(features.detach().numpy(), (x * upsampled).numpy(), atol=1e-12)


def test_bias_opens_and_closes():
    x, signal = torch.randn(1, 4, 6, 6, dtype=torch.float64), torch.randn(1, 5, 3, 3, dtype=torch.float64)
    gate = make(2)
    for bias, expected in ((60.0, x), (-60.0, torch.zeros_like(x))):
        torch.nn.init.constant_(gate.psi.bias, bias)
        torch.testing.assert_close(gate(x, signal).features, expected, atol=1e-9, rtol=0)


def test_swapped_inputs_are_noticed():
    gate = make(2)
    x, signal = torch.randn(1, 4, 6, 6, dtype=torch.float64), torch.randn(1, 5, 3, 3, dtype=torch.float64)
    with pytest.raises(RuntimeError):
        gate(signal, x)


@pytest.mark.parametrize(("grid", "coarse"), [((8, 6), (3, 5)), ((8, 6, 4), (2, 5, 3))])
def test_a_signal_on_another_grid_is_resampled_linearly(grid, coarse):
    """After its projection, so that the result is that of a signal which was resampled before."""
    gate = make(len(grid))
    x = torch.randn(1, 4, *grid, dtype=torch.float64)
    signal = torch.randn(1, 5, *coarse, dtype=torch.float64)
    resampled = interpolate(signal[0].numpy(), [n // 2 for n in grid])
    expected = gate(x, torch.from_numpy(resampled)[None])
    torch.testing.assert_close(gate(x, signal), expected)


@pytest.mark.parametrize(("n", "stride"), [(5, 2), (7, 4), (9, 4)])
def test_cells_of_an_odd_grid_stay_where_they_came_from(n, stride):
    """The gate's grid is ceil(n / stride) cells, the last of which lies partly outside: nothing is stretched."""
    gate, coarse = make(2, stride), -(-n // stride)
    x = torch.randn(1, 4, n, n, dtype=torch.float64)
    signal = torch.randn(1, 5, coarse, coarse, dtype=torch.float64)
    padded = torch.nn.functional.pad(x, (0, coarse * stride - n) * 2, mode="replicate")
    torch.testing.assert_close(gate(x, signal).weights, gate(padded, signal).weights[:, :, :n, :n])
