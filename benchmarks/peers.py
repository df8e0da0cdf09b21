"""Networks of others, as the benchmarks build them."""

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec

from monai.networks.nets import AttentionUnet
from torch import nn

NNUNET = "dynamic_network_architectures"


def monai_attention_unet(channels: Sequence[int], inputs: int, outputs: int) -> nn.Module:
    """MONAI's AttentionUnet with its defaults."""
    network: nn.Module = AttentionUnet(3, inputs, outputs, channels, (2,) * (len(channels) - 1))
    return network


def has_nnunet() -> bool:
    """Whether nnU-Net's networks are installed."""
    return find_spec(NNUNET) is not None


def nnunet_plain(channels: Sequence[int], inputs: int, outputs: int) -> nn.Module:
    """nnU-Net's plain network as it plans it for volumes of equal voxels."""
    levels = len(channels)
    network: nn.Module = import_module(f"{NNUNET}.architectures.unet").PlainConvUNet(
        input_channels=inputs,
        n_stages=levels,
        features_per_stage=channels,
        conv_op=nn.Conv3d,
        kernel_sizes=[[3, 3, 3]] * levels,
        strides=[[1, 1, 1]] + [[2, 2, 2]] * (levels - 1),
        n_conv_per_stage=[2] * levels,
        num_classes=outputs,
        n_conv_per_stage_decoder=[2] * (levels - 1),
        conv_bias=True,
        norm_op=nn.InstanceNorm3d,
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
        deep_supervision=True,
    )
    return network
