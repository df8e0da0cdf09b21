"""The network: blocks, the attention U-Net, and the variant that most public code has."""

from attention_unet.network.attention_unet import AttentionUNet
from attention_unet.network.unet import UNet

__all__ = ["AttentionUNet", "UNet"]
