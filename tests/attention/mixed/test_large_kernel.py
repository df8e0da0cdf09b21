import pytest
import torch

from attention_unet.attention.base import Place
from attention_unet.attention.mixed.large_kernel import LargeKernelAttention
from tests.attention.build import arrays, image, trained
from tests.reference import mixed


@pytest.mark.parametrize(("kernel", "dilation"), [(21, 3), (6, 2)])
@pytest.mark.parametrize("grid", [(9, 4), (5, 3, 4)])
def test_equals_the_equation(grid, kernel, dilation):
    attention = trained(LargeKernelAttention(Place(len(grid), 3, 3), kernel=kernel, dilation=dilation))
    p, x = arrays(attention), image(1, 3, *grid)
    layers = [(p[f"{name}.weight"], p[f"{name}.bias"]) for name in ("near", "far", "project")]
    expected = mixed.large_kernel(x[0].numpy(), *layers, dilation)
    torch.testing.assert_close(attention(x).weights[0], torch.from_numpy(expected))


def test_kernels_are_those_of_the_paper():
    """21 voxels: a kernel of 5, then one of 7 with taps 3 voxels apart."""
    attention = LargeKernelAttention(Place(2, 4, 4))
    assert (attention.near.kernel_size, attention.far.kernel_size, attention.far.dilation) == ((5, 5), (7, 7), (3, 3))
    assert LargeKernelAttention(Place(2, 4, 4), kernel=16, dilation=4).far.kernel_size == (5, 5)


def test_starts_with_weights_of_one():
    weights = LargeKernelAttention(Place(2, 8, 8))(torch.randn(1, 8, 16, 16)).weights
    assert weights.mean().item() == pytest.approx(1, abs=0.05)
