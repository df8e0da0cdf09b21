"""Build networks of other projects, and train them by the same step as ours."""

from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec

import torch
from monai.networks.nets import AttentionUnet
from torch import Tensor, nn
from torch.optim import AdamW

from attention_unet.network import AttentionUNet
from attention_unet.training.losses import SegmentationLoss

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


def training_step(network: nn.Module, image: Tensor, target: Tensor, precision: torch.dtype) -> Callable[[], None]:
    """Return a function that runs one training step of a network, ours or another, on the device of the image."""
    network, device = network.to(image.device).train(), image.device.type
    optimizer, loss_of = AdamW(network.parameters(), lr=1e-3, fused=True), SegmentationLoss(overlapping=False)
    ours = isinstance(network, AttentionUNet)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(device, precision, enabled=precision != torch.float32):
            logits: Tensor | list[Tensor] = network(image, full_output=True).logits if ours else network(image)
        loss_of(logits, target).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()

    return step
