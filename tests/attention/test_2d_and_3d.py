"""A mechanism in 2-D is that in 3-D of one slice."""

import pytest
import torch

from attention_unet.attention import NAMES
from tests.attention.build import inputs, make, randomised
from tests.attention.expected import expected


@pytest.mark.parametrize("name", [name for name in NAMES if not expected(name).by_axis])
def test_2d_equals_3d_of_one_slice(name):
    flat, solid = randomised(name, 2).eval(), make(name, 3, stride=(1, 2, 2)).eval()
    if name == "fca":  # the 3-D frequencies are others: take the 2-D ones, constant across the slice
        solid.frequencies = torch.nn.functional.pad(flat.frequencies, (1, 0))
    for parameter in flat.parameters() if name != "large_kernel" else []:
        if parameter.shape[-2:] == (7, 7):  # in 3-D the kernel has five voxels per axis
            parameter.data[..., [0, 6], :] = parameter.data[..., :, [0, 6]] = 0
    values = flat.state_dict()
    solid.load_state_dict({key: as_3d(key, values[key], like) for key, like in solid.state_dict().items()})
    x, gate = inputs((6, 5))
    flat_features, weights = flat(x, gate)
    features, solid_weights = solid(x[:, :, None], gate[:, :, None])
    torch.testing.assert_close(features[:, :, 0], flat_features, atol=1e-5, rtol=1e-5)
    if weights is not None:
        torch.testing.assert_close(solid_weights[:, :, 0], weights, atol=1e-5, rtol=1e-5)


def as_3d(key, value, like):
    """2-D parameters laid out for the 3-D module such that the slice axis plays no part."""
    if value.shape == like.shape:
        return value
    solid = torch.zeros_like(like)
    if value.dim() == 4:  # a convolution: the plane through the middle of the kernel (offsets: without the slice axis)
        if len(value) != len(like):
            value = skip_slice_axis(value, like)
        solid[:, :, solid.shape[2] // 2] = value[..., 1:-1, 1:-1] if value.shape[-1] > like.shape[-1] else value
    elif value.dim() == 5:  # several kernels
        solid[:, :, :, 1] = value
    elif key.startswith("locate_hidden"):  # stn: the coarse grid repeats the slice four times
        solid = (value.reshape(32, 8, 1, 4, 4) / 4).expand(-1, -1, 4, -1, -1).reshape(like.shape)
    elif key == "what.weight":  # glimpse: the plane through the middle of a retina patch
        solid.reshape(64, 3, 4, 5, 5, 5)[:, :, :, 2] = value.reshape(64, 3, 4, 5, 5)
    elif key == "where.weight":
        solid[:, 1:] = value
    else:  # coordinates, the slice axis first: no shift, no zoom
        solid = skip_slice_axis(value, like)
    return solid


def skip_slice_axis(value, like):
    groups = len(like) - len(value)
    solid = torch.zeros(len(like), *value.shape[1:])
    solid.reshape(groups, 3, *value.shape[1:])[:, 1:] = value.reshape(groups, 2, *value.shape[1:])
    return solid
