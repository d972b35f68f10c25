"""The base of autoregressive image models: raster order, class conditioning, scoring, decoding.

A subclass is a network that computes features of each pixel from the earlier ones,

    vertical(above, run)             contributions of the rows above, stored in the pass
    horizontal(left, here, run)      features (B, U, ., .) at the positions of the pass

and a head that turns features into logits. Scoring calls both once, in a `FullPass`; sampling
calls the first once per row and the second once per pixel, in an `IncrementalPass`. The channels
of a pixel are drawn in turn: either features do not depend on their own pixel and the head does
(`CategoricalHead`, `LogisticMixtureHead`), or features and head are split into channel groups
(`ChannelGroupHead`), and `grouped` is true.

Shapes: B batch, C channels, H rows, W columns, U units, K levels.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo_autoregressive.heads import Head
from zoo_autoregressive.incremental_decoding import Cache, FullPass, IncrementalPass, Pass
from zoo_core.plugin import (
    ClassCounts,
    Condition,
    Event,
    GenerativeModel,
    Range,
    condition_features,
    rescale_levels,
)

__all__ = [
    "COORDINATE_CHANNELS",
    "AutoregressiveImageModel",
    "ImageConfig",
    "PixelCache",
    "StackConfig",
    "coordinate_channels",
    "network_input",
    "raster_order",
]

COORDINATE_CHANNELS = 3
"""Inputs of a network beside the image's channels: 1, the row and the column."""


@dataclass(frozen=True)
class ImageConfig:
    """The event of every model here: images (C, H, W) of K levels. `classes` conditions it."""

    shape: Annotated[tuple[int, int, int], Range(1, 4096)] = (1, 28, 28)
    levels: Annotated[int, Range(2, 65536)] = 2
    classes: ClassCounts = None


@dataclass(frozen=True)
class StackConfig(ImageConfig):
    """A residual stack of `layers` of width U = `hidden` over a first k x k convolution."""

    hidden: Annotated[int, Range(1, 65536)] = 16
    layers: Annotated[int, Range(1, 256)] = 7
    kernel_size: Literal[3, 5, 7, 9, 11] = 7
    head: Annotated[int, Range(1, 65536)] = 32
    dropout: Annotated[float, Range(0.0, 0.99)] = 0.0


@dataclass
class PixelCache:
    """The pass through the current row, which holds the network's cache, and the features of the
    current pixel."""

    row: IncrementalPass
    features: Tensor | None = None


class AutoregressiveImageModel(GenerativeModel, ABC):
    """Subclasses are final, set `head` and implement `vertical` and `horizontal`."""

    head: Head
    coordinates: Tensor
    grouped = False
    by_rows = True
    """Whether `horizontal` evaluates a whole row in one `IncrementalPass`."""

    def __init__(self, config: ImageConfig) -> None:
        condition = Condition.from_classes(config.classes)
        super().__init__(config, Event(config.shape, levels=config.levels), condition)
        coordinates = coordinate_channels(*config.shape[1:])
        self.register_buffer("coordinates", coordinates, persistent=False)

    @abstractmethod
    def vertical(self, above: Tensor, run: Pass) -> None:
        """Evaluate the vertical stack; `above` (B, C + 3, ., W) is the input one row above."""

    @abstractmethod
    def horizontal(self, left: Tensor, here: Tensor, run: Pass) -> Tensor:
        """Features (B, U, ., .) from the input one column to the left, and at the positions."""

    def features(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        """Features of each pixel for the head, (B, C, H, W) -> (B, U, H, W)."""
        inputs = network_input(x, self.config.levels, self.coordinates)
        run = FullPass(
            x.shape[2], x.shape[3], condition_features(self.condition, cond, self.dtype)
        )
        self.vertical(F.pad(inputs, (0, 0, 1, 0))[:, :, :-1], run)
        return self.horizontal(F.pad(inputs, (1, 0))[..., :-1], inputs, run)

    def logits(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        """All conditionals in one pass, (B, C, H, W) -> (B, C, H, W, K)."""
        return self.head.logits(self.features(x, cond), x)

    def log_prob(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        """log p(x | cond) in nats, (B, C, H, W) -> (B,)."""
        return self.head.log_prob(self.features(x, cond), x)

    def order(self) -> Tensor:
        """Pixels in raster order, the channels of a pixel in turn, int64 (D,)."""
        return raster_order(*self.config.shape)

    def init_cache(self, batch: int, cond: Tensor | None = None) -> PixelCache:
        """The cache before the first value of each image is drawn."""
        e = condition_features(self.condition, cond, self.dtype)
        return PixelCache(IncrementalPass(Cache(), self.config.shape[2], e, r=-1))

    def decode_step(self, x: Tensor, i: int, cache: PixelCache) -> tuple[Tensor, PixelCache]:
        """Logits (B, K) of value `order()[i]`, given the earlier ones in x (B, C, H, W)."""
        pixel, channel = divmod(i, self.config.shape[0])
        r, c = divmod(pixel, self.config.shape[2])
        if c == channel == 0:
            cache.row = replace(cache.row, r=r)
            self.vertical(self._input_at(x, r - 1), cache.row)
        if channel == 0 or self.grouped:
            left, here = self._input_at(x, r, c - 1), self._input_at(x, r, c)
            cache.features = self.horizontal(left, here, replace(cache.row, c=c))
        assert cache.features is not None
        logits = self.head.logits(cache.features, x[:, :, r : r + 1, c : c + 1])
        return logits[:, channel, 0, 0], cache

    def order_blocks(self) -> list[range]:
        """The rows of an image, which `decode_block` evaluates at once."""
        channels, height, width = self.config.shape
        n = channels * width
        n = n if self.by_rows else n * height
        return [range(i, i + n) for i in range(0, self.event.dims, n)]

    def decode_block(
        self, x: Tensor, block: range, cache: PixelCache
    ) -> tuple[Tensor, PixelCache]:
        """Logits (B, N, K) of a row of x (B, C, H, W), given its values and the rows above."""
        r = block.start // len(block)
        if cache.row.r != r:
            cache.row = replace(cache.row, r=r)
            self.vertical(self._input_at(x, r - 1), cache.row)
        here = self._input_at(x, r)
        features = self.horizontal(F.pad(here, (1, -1)), here, cache.row)
        logits = self.head.logits(features, x[:, :, r : r + 1])  # (B, C, 1, W, K)
        return logits[:, :, 0].transpose(1, 2).flatten(1, 2), cache

    def _input_at(self, x: Tensor, r: int, c: int | None = None) -> Tensor:
        """The network's input at row r, or at its pixel c; zeros outside the image."""
        rows = slice(max(r, 0), max(r, 0) + 1)
        columns = slice(None) if c is None else slice(max(c, 0), max(c, 0) + 1)
        coordinates = self.coordinates[:, rows, columns]
        inputs = network_input(x[:, :, rows, columns], self.config.levels, coordinates)
        return torch.zeros_like(inputs) if min(r, c or 0) < 0 else inputs


def network_input(x: Tensor, levels: int, coordinates: Tensor) -> Tensor:
    """Values from -1 to 1 and coordinates, (B, C, ., .) and (I, ., .) -> (B, C + I, ., .)."""
    v = rescale_levels(x, levels, coordinates.dtype)
    if not len(coordinates):
        return v
    return torch.cat((v, coordinates.expand(len(x), -1, -1, -1)), 1)


def raster_order(channels: int, height: int, width: int) -> Tensor:
    """Flat positions of (C, H, W), pixel by pixel, int64 (D,).

    >>> raster_order(2, 1, 2)  # both channels of the left pixel come first
    tensor([0, 2, 1, 3])
    """
    D = channels * height * width
    return torch.arange(D).view(channels, -1).T.flatten()


def coordinate_channels(height: int, width: int) -> Tensor:
    """1, the row and the column, from -1 to 1, (3, H, W).

    They are computed in float64 and rounded once, because the last bits of float32 arithmetic
    differ between machines.
    """
    rows, columns = (torch.linspace(-1, 1, n, dtype=torch.float64) for n in (height, width))
    grids = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack((torch.ones_like(grids[0]), *grids)).to(torch.get_default_dtype())
