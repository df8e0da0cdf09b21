"""The network: blocks, the attention U-Net, and the variant that most public code has."""

from attention_unet.network.architecture import Architecture
from attention_unet.network.attention_unet import AttentionUNet
from attention_unet.network.unet import NetworkOutput, UNet

__all__ = ["Architecture", "AttentionUNet", "NetworkOutput", "UNet"]
