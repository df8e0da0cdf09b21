import numpy as np
import pytest
import torch

from attention_unet.attention.base import Place
from attention_unet.attention.mixed.triplet import TripletAttention
from tests.attention.build import arrays, image, trained
from tests.reference import mixed
from tests.reference.dense import convolve


@pytest.mark.parametrize("init", ["open", "paper"])
@pytest.mark.parametrize("grid", [(4, 3), (4, 3, 2)])
def test_equals_the_equation(grid, init):
    attention, x = trained(TripletAttention(Place(len(grid), 5, 5, init=init), kernel=3)), image(2, 5, *grid)
    p = arrays(attention)
    for buffer in [b for n, b in attention.named_buffers() if n.endswith("running_mean")]:
        buffer.fill_(0.3)

    def branch(i):
        if init == "open":
            return lambda maps: convolve(maps, p[f"branches.{i}.weight"], p[f"branches.{i}.bias"])
        scale, shift = (p[f"branches.{i}.1.{kind}"] for kind in ("weight", "bias"))
        return lambda m: (convolve(m, p[f"branches.{i}.0.weight"]) - 0.3) / np.sqrt(1 + 1e-5) * scale + shift

    for case, weights in zip(x.numpy(), attention(x).weights, strict=True):
        expected = mixed.triplet(case, [branch(i) for i in range(len(grid) + 1)])
        torch.testing.assert_close(weights, torch.from_numpy(expected))


def test_kernels_are_odd_and_seven_in_2d():
    assert TripletAttention(Place(2, 4, 4)).branches[0].kernel_size == (7, 7)
    assert TripletAttention(Place(3, 4, 4)).branches[0].kernel_size == (5, 5, 5)
    with pytest.raises(ValueError, match="kernel is 4: expected an odd number"):
        TripletAttention(Place(2, 4, 4), kernel=4)
