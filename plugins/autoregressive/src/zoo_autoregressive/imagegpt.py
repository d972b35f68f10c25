"""ImageGPT: a transformer over the colours of a palette (Chen et al., 2020).

Generative pretraining from pixels, http://proceedings.mlr.press/v119/chen20s.html, and the
checkpoints openai/imagegpt-small, -medium and -large. An event is `size` x `size` pixels in raster
order, each the number of one of `colours` colours: tokens, whose likelihood is exact, in nats per
token. It is no likelihood of RGB images, many of which have the same palette image.

The network is GPT-2's with RMS norms, quick GELU and biases; 24, 36 and 48 layers of 512, 1024
and 1536 units with 8, 8 and 16 heads.
"""

from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor

from zoo_autoregressive.sequence_model import DirectHead, SequenceModel, cells
from zoo_core.plugin import Condition, Network, Range, Tokens, TransformerConfig

__all__ = ["ImageGPT", "ImageGPTConfig"]

_SMALL = TransformerConfig(hidden=512, layers=24, heads=8, norm="rms", activation="quick_gelu")


@dataclass(frozen=True)
class ImageGPTConfig:
    """The size of the images, the number of colours, and the network: by default the small one."""

    size: Annotated[int, Range(1, 1024)] = 32
    colours: Annotated[int, Range(3, 65536)] = 512
    network: Annotated[Any, Network("sequence")] = _SMALL


class ImageGPT(SequenceModel):
    """A categorical of the palette's colours at every pixel.

    `palette` (K, 3) are the colours, from -1 to 1; those of a fresh model are greys.
    """

    palette: Tensor

    def __init__(self, config: ImageGPTConfig | None = None) -> None:
        c = config or ImageGPTConfig()
        event, head = Tokens(c.size**2, c.colours), DirectHead(c.colours)
        pixels = cells((1, c.size, c.size))
        super().__init__(c, event, Condition(), head, c.colours, pixels)
        greys = torch.linspace(-1, 1, c.colours)[:, None].repeat(1, 3)
        self.register_buffer("palette", greys)

    def to_rgb(self, x: Tensor) -> Tensor:
        """Pictures (B, 3, size, size) in 0..255 (uint8) of events (B, size^2)."""
        colours = ((self.palette[x] + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        pictures: Tensor = colours.transpose(1, 2).unflatten(2, (self.config.size, -1))
        return pictures

    def from_rgb(self, pictures: Tensor) -> Tensor:
        """Events (B, size^2) of pictures in 0..255: the nearest colour, by squared distance."""
        v = pictures.flatten(2).transpose(1, 2).to(self.palette.dtype) / 127.5 - 1
        return torch.cdist(v, self.palette.expand(len(v), -1, -1)).argmin(-1)
