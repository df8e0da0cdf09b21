"""Normalisation of features."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from attention_unet.layers.normalization import BatchNorm, EightChannelNorm, GroupNorm, InstanceNorm


@pytest.fixture
def cuda_autocast():
    """Turn on CUDA's automatic precision as a computer without a GPU can."""
    torch.set_autocast_enabled("cuda", True)
    torch.set_autocast_dtype("cuda", torch.bfloat16)
    yield
    torch.set_autocast_enabled("cuda", False)


@pytest.mark.parametrize(
    "norm", [lambda: GroupNorm(2, 8), lambda: InstanceNorm(8, affine=False), lambda: EightChannelNorm(8)]
)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_gpu_keeps_the_type_of_the_features(norm, dtype, cuda_autocast):
    """CUDA's autocast would return float32: twice the memory of a step."""
    with FakeTensorMode():
        made = norm().requires_grad_(False)  # autograd would ask for a real device
        for name, _ in list(made.named_parameters()):
            setattr(made, name, torch.nn.Parameter(torch.empty(8, device="cuda"), requires_grad=False))
        features = torch.empty(2, 8, 4, 4, 4, dtype=dtype, device="cuda")
        assert made(features).dtype == dtype


def test_groups_have_eight_channels_or_the_next_larger_divisor():
    found = {channels: EightChannelNorm(channels).num_groups for channels in (6, 8, 12, 16, 20, 24, 64)}
    assert found == {6: 1, 8: 1, 12: 1, 16: 2, 20: 2, 24: 3, 64: 8}


def test_one_value_per_channel_is_normalised_by_the_running_statistics():
    norm = BatchNorm(3)
    norm.running_mean.copy_(torch.tensor([1.0, -2.0, 0.5]))
    norm.running_var.copy_(torch.tensor([4.0, 0.25, 1.0]))
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    x = torch.randn(1, 3)
    torch.testing.assert_close(norm.train()(x), norm.eval()(x))
