"""The U-Nets DDPM++ and NCSN++, and their options."""

from zoo_core.nn.song_unet.config import SongUNetConfig
from zoo_core.nn.song_unet.network import SongUNet

__all__ = ["SongUNet", "SongUNetConfig"]
