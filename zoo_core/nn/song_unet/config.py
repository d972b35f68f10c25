"""The options of the U-Nets DDPM++ and NCSN++."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from zoo_core.config import Range
from zoo_core.errors import ConfigError

__all__ = ["SongUNetConfig"]

_Count = Annotated[int, Range(1, 65536)]


@dataclass(frozen=True)
class SongUNetConfig:
    """Channels `width` x `multipliers` of each resolution, from the finest; EDM's for CIFAR-10.

    - `blocks`: residual blocks of each resolution of the encoder; the decoder has one more.
    - `attention`: heights of the resolutions with attention.
    - `embedding`, `noise_multiplier`: features of time, `width` x `noise_multiplier` of them.
    - `embedding_multiplier`: E / width.
    - `filter`: resampling by mean and nearest neighbor ("box"), or by [1, 3, 3, 1] ("fir").
    - `augment`: number of augmentation labels; without them they count as zeros.
    """

    type: ClassVar[str] = "song_unet"
    width: _Count = 128
    multipliers: tuple[_Count, ...] = (2, 2, 2)
    blocks: Annotated[int, Range(1, 64)] = 4
    attention: tuple[_Count, ...] = (16,)
    dropout: Annotated[float, Range(0.0, 0.99)] = 0.1
    embedding: Literal["positional", "fourier"] = "positional"
    noise_multiplier: Annotated[int, Range(1, 64)] = 1
    embedding_multiplier: Annotated[int, Range(1, 64)] = 4
    encoder: Literal["standard", "residual"] = "standard"
    filter: Literal["box", "fir"] = "box"
    augment: Annotated[int, Range(0, 4096)] = 0

    def __post_init__(self) -> None:
        if not self.multipliers:
            raise ConfigError("network: multipliers = (); give one for each resolution.")
