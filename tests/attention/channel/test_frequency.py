import math

import numpy as np
import pytest
import torch

from attention_unet.attention.base import Place
from attention_unet.attention.channel.frequency import FrequencyChannelAttention, frequency_indices
from tests.attention.build import arrays, image, trained
from tests.reference import channel
from tests.reference.dense import sigmoid


@pytest.mark.parametrize("dims", [2, 3])
def test_equals_the_transform_of_scipy(dims):
    attention, x = trained(FrequencyChannelAttention(Place(dims, 24, 24))), image(1, 24, *(7,) * dims)
    z = channel.spectrum(x[0].numpy(), attention.frequencies.numpy())
    torch.testing.assert_close(attention.spectrum(x)[0], torch.from_numpy(z))
    p = arrays(attention)
    expected = sigmoid(p["expand.weight"] @ np.maximum(p["reduce.weight"] @ z, 0) + p["expand.bias"])
    torch.testing.assert_close(attention(x).weights.flatten(), torch.from_numpy(expected))


def test_the_lowest_frequency_alone_is_squeeze_and_excitation():
    attention, x = (
        trained(FrequencyChannelAttention(Place(3, 1, 1))),
        image(1, 1, 14, 7, 7),
    )  # one channel has one frequency
    torch.testing.assert_close(attention.spectrum(x), x.mean(dim=(2, 3, 4)) * math.sqrt(7**3))


def test_frequencies_differ_and_are_shared_out_evenly():
    assert len(set(frequency_indices(3, 16))) == 16
    counts = torch.unique(FrequencyChannelAttention(Place(2, 24, 24)).frequencies, dim=0, return_counts=True)[1]
    assert sorted(counts.tolist()) == [1] * 8 + [2] * 8


@pytest.mark.parametrize(
    ("dims", "n", "distinct"), [(2, 2, 4), (2, 4, 10), (2, 6, 14), (3, 2, 8), (3, 3, 16), (3, 4, 16)]
)
def test_small_grids_keep_frequencies_apart(dims, n, distinct):
    """The authors' integer factor n // 7 turns every frequency into the mean on a grid below 7."""
    attention = trained(FrequencyChannelAttention(Place(dims, 16, 16)))
    # One voxel at a time: the spectrum of a point distinguishes all bases.
    points = torch.eye(n**dims, dtype=torch.float64).reshape(-1, 1, *(n,) * dims).expand(-1, 16, *(n,) * dims)
    bases = attention.spectrum(points).T
    assert len(torch.unique(bases.round(decimals=9), dim=0)) == distinct
    constant = (bases - bases[:, :1]).abs().amax(dim=1) < 1e-9
    assert int(constant.sum()) == 1


def test_frequencies_are_those_of_the_authors_and_in_3d_the_lowest():
    """The first 16 of the lists in FcaNet's code; in 3-D the mean, one wave along an axis, two axes, half as long."""
    x = [0, 0, 6, 0, 0, 1, 1, 4, 5, 1, 3, 0, 0, 0, 3, 2]
    y = [0, 1, 0, 5, 2, 0, 2, 0, 0, 6, 0, 4, 6, 3, 5, 2]
    assert frequency_indices(2, 16) == list(zip(x, y, strict=True))
    assert frequency_indices(3, 10) == [
        (0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 0), (0, 0, 2), (0, 2, 0), (2, 0, 0)
    ]  # fmt: skip


@pytest.mark.parametrize(("dims", "most"), [(2, 16), (3, 343)])
def test_more_frequencies_than_there_are_are_refused(dims, most):
    FrequencyChannelAttention(Place(dims, 4, 4), frequencies=most)
    with pytest.raises(ValueError, match=rf"frequencies is {most + 1}: expected at most {most} in {dims}-D"):
        FrequencyChannelAttention(Place(dims, 4, 4), frequencies=most + 1)
