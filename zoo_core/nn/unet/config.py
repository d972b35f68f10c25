"""The options of a U-Net, enough for DDPM, its later variants and NCSN++.

Block types: `plain` and `attention` (DDPM, Ho et al., 2020, https://arxiv.org/abs/2006.11239),
`resnet` (resampling inside ResNet blocks; Dhariwal & Nichol, 2021), `skip` and `attention_skip`
(NCSN++, Song et al., 2021, https://arxiv.org/abs/2011.13456: FIR filters, and an image pyramid
that every block reads or writes).
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from zoo_core.config import Range
from zoo_core.errors import ConfigError

__all__ = ["BlockType", "UNetConfig"]

BlockType = Literal["plain", "attention", "resnet", "skip", "attention_skip"]
_Channels = Annotated[int, Range(1, 65536)]


@dataclass(frozen=True)
class UNetConfig:
    """Channels and type of each block, from the finest resolution.

    - `up`: types of the up blocks, from the coarsest; by default those of `down` reversed.
    - `layers`: ResNet blocks in each down block; an up block has one more.
    - `head`: channels of an attention head; None is one head.
    - `middle_*`: options of the block between down and up.
    - `downsample_padding`: 0 pads only at the right and at the bottom.
    - `time`, `time_*`: the time embedding; `steps` is the number of times of a learned one.
    - `center`: map inputs from [0, 1] to [-1, 1].
    """

    type: ClassVar[str] = "unet"
    channels: tuple[_Channels, ...] = (128, 256, 256, 256)
    down: tuple[BlockType, ...] = ("plain", "attention", "plain", "plain")
    up: tuple[BlockType, ...] | None = None
    layers: Annotated[int, Range(1, 64)] = 2
    groups: Annotated[int, Range(1, 65536)] | None = 32
    eps: Annotated[float, Range(0.0, 1.0)] = 1e-6
    head: _Channels | None = None
    dropout: Annotated[float, Range(0.0, 0.99)] = 0.0
    scale_shift: bool = False
    middle: bool = True
    middle_attention: bool = True
    middle_groups: _Channels | None = None
    middle_scale: Annotated[float, Range(0.0, 1e6, open=True)] = 1.0
    downsample: Literal["conv", "resnet"] = "conv"
    upsample: Literal["conv", "resnet"] = "conv"
    downsample_padding: Literal[0, 1] = 1
    time: Literal["positional", "fourier", "learned"] = "positional"
    time_size: _Channels | None = None
    time_flip: bool = False
    time_shift: Annotated[float, Range(0.0, 1.0)] = 1.0
    steps: Annotated[int, Range(1, 1 << 20)] = 1000
    center: bool = False

    def __post_init__(self) -> None:
        if not (self.channels and len(self.channels) == len(self.down) == len(self.up_types)):
            raise ConfigError(
                f"network: {len(self.channels)} channels, {len(self.down)} down and "
                f"{len(self.up_types)} up blocks; give as many of each."
            )

    @property
    def up_types(self) -> tuple[BlockType, ...]:
        """Types of the up blocks, from the coarsest resolution."""
        return self.down[::-1] if self.up is None else self.up
