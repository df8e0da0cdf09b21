"""Build networks of other projects."""

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec

from monai.networks.nets import AttentionUnet
from torch import nn

NNUNET = "dynamic_network_architectures"


def monai_attention_unet(channels: Sequence[int], inputs: int, outputs: int) -> nn.Module:
    """Return MONAI's AttentionUnet with its defaults."""
    network: nn.Module = AttentionUnet(3, inputs, outputs, channels, (2,) * (len(channels) - 1))
    return network


def has_nnunet() -> bool:
    """Return whether nnU-Net's networks are installed."""
    return find_spec(NNUNET) is not None


def nnunet_plain(channels: Sequence[int], inputs: int, outputs: int) -> nn.Module:
    """Return nnU-Net's plain network as planned for isotropic voxels."""
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
