"""The options of a U-Net, enough for DDPM, its later variants and NCSN++.

Block types: `plain` and `attention` (DDPM, Ho et al., 2020, https://arxiv.org/abs/2006.11239),
`resnet` (resampling inside ResNet blocks; Dhariwal & Nichol, 2021), `skip` and `attention_skip`
(NCSN++, Song et al., 2021, https://arxiv.org/abs/2011.13456: FIR filters, and an image pyramid
that every block reads or writes), `k` (k-diffusion: `k_blocks.py`).
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from zoo_core.config import Range
from zoo_core.errors import ConfigError

__all__ = ["Activation", "BlockType", "UNetConfig"]

BlockType = Literal["plain", "attention", "resnet", "skip", "attention_skip", "k"]
Activation = Literal["silu", "mish", "gelu", "relu"]
_Channels = Annotated[int, Range(1, 65536)]


@dataclass(frozen=True)
class UNetConfig:
    """Channels and type of each block, from the finest resolution.

    - `up`: types of the up blocks, from the coarsest; by default those of `down` reversed.
    - `layers`: ResNet blocks in each down block; an up block has one more.
    - `head`: channels of an attention head, or `heads`: their number; without both, one head.
      Channels beyond the last whole head are not attended to.
    - `activation`: that of the ResNet blocks.
    - `middle_*`: options of the block between down and up.
    - `downsample_padding`: 0 pads only at the right and at the bottom.
    - `time`, `time_*`: the time embedding; `steps` is the number of times of a learned one, and
      `time_features` the size of the features before it (default: the first of `channels`).
    - `labels`: a table of label embeddings, or labels embedded as times are ("time").
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
    heads: Annotated[int, Range(1, 65536)] | None = None
    activation: Activation = "silu"
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
    time_features: _Channels | None = None
    time_flip: bool = False
    time_shift: Annotated[float, Range(0.0, 1024.0)] = 1.0
    steps: Annotated[int, Range(1, 1 << 20)] = 1000
    labels: Literal["table", "time"] = "table"
    center: bool = False

    def __post_init__(self) -> None:
        if not (self.channels and len(self.channels) == len(self.down) == len(self.up_types)):
            raise ConfigError(
                f"network: {len(self.channels)} channels, {len(self.down)} down and "
                f"{len(self.up_types)} up blocks; give as many of each."
            )

        if self.head is not None and self.heads is not None:
            raise ConfigError(
                f"network: head = {self.head} and heads = {self.heads}; give one of them."
            )

    @property
    def up_types(self) -> tuple[BlockType, ...]:
        """Types of the up blocks, from the coarsest resolution."""
        return self.down[::-1] if self.up is None else self.up

    def head_of(self, C: int) -> int:
        """Channels of an attention head over C channels; raises ConfigError if there is none."""
        head = self.head or C // (self.heads or 1)
        if not 0 < head <= C:
            raise ConfigError(
                f"network: no head of {head} channels fits into {C}.",
                hint="network.head or network.heads: at most the channels of every level with "
                "attention",
            )
        return head
