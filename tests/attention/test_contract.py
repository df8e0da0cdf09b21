"""What every mechanism keeps, whatever its name."""

import pytest
import torch

from attention_unet.attention import MECHANISMS, Sequential, build

NAMES = [*sorted(MECHANISMS), ["gate", "spatial"]]
GRIDS = {2: [(7, 10), (1, 5), (8, 8)], 3: [(5, 6, 7), (1, 4, 3), (4, 4, 4)]}


def make(name, dims, channels=6):
    torch.manual_seed(0)
    return build(name, dims=dims, channels=channels, gate_channels=9)


def coarse_of(grid):
    return tuple(-(-n // 2) for n in grid)


@pytest.mark.parametrize("name", NAMES, ids=str)
@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_shapes_and_range(name, dims, dtype):
    attention = make(name, dims).to(dtype)
    for grid in GRIDS[dims]:
        x, gate = torch.randn(1, 6, *grid, dtype=dtype), torch.randn(1, 9, *coarse_of(grid), dtype=dtype)
        with torch.no_grad():
            features, weights = attention(x, gate)
        assert features.shape == x.shape
        assert features.dtype == dtype
        if weights is not None:
            assert weights.shape == (1, 1, *grid)
            assert float(weights.min()) >= 0
            assert float(weights.max()) <= 1
            torch.testing.assert_close(features, x * weights)


@pytest.mark.parametrize("name", NAMES, ids=str)
@pytest.mark.parametrize("dims", [2, 3])
def test_starts_open(name, dims):
    x, gate = torch.randn(2, 6, *(8,) * dims), torch.randn(2, 9, *(4,) * dims)
    with torch.no_grad():
        features, _ = make(name, dims)(x, gate)
    parts = len(name) if isinstance(name, list) else 1
    assert float((features - x).abs().max() / x.abs().max()) < 1 - 0.92**parts


@pytest.mark.parametrize("name", NAMES, ids=str)
@pytest.mark.parametrize("dims", [2, 3])
def test_gradients_in_double_precision(name, dims):
    attention = make(name, dims, channels=3).double()
    x = torch.randn(1, 3, *(4, 3, 2)[:dims], dtype=torch.float64, requires_grad=True)
    gate = torch.randn(1, 9, *(2, 2, 1)[:dims], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a, b: attention(a, b).features, (x, gate))


def test_unknown_name_lists_the_known():
    with pytest.raises(ValueError, match=r"'gat'.*gate, identity, spatial"):
        build("gat", dims=3, channels=4)


def test_sequence_applies_its_parts_in_order():
    gate_alone, spatial_alone = make("gate", 3), make("spatial", 3)
    x, gate = torch.randn(1, 6, 4, 4, 4), torch.randn(1, 9, 2, 2, 2)
    features, weights = Sequential([gate_alone, spatial_alone])(x, gate)
    first = gate_alone(x, gate)
    second = spatial_alone(first.features)
    torch.testing.assert_close(features, second.features)
    torch.testing.assert_close(weights, first.weights * second.weights)
