"""The U-Net of diffusion models and its options."""

from zoo_core.nn.unet.config import UNetConfig
from zoo_core.nn.unet.network import UNet

__all__ = ["UNet", "UNetConfig"]
