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

from zoo_autoregressive.copy_mixture import CopyMixtureHead
from zoo_autoregressive.heads import ALL, COPY, CategoricalHead, Head
from zoo_autoregressive.incremental_decoding import Cache, FullPass, IncrementalPass, Pass
from zoo_core.plugin import (
    Batch,
    ClassCounts,
    Condition,
    Event,
    GenerativeModel,
    Range,
    Rng,
    condition_features,
    rescale_levels,
)

__all__ = [
    "COORDINATE_CHANNELS",
    "AutoregressiveImageModel",
    "ImageConfig",
    "PixelCache",
    "RasterImageModel",
    "StackConfig",
    "coordinate_channels",
    "make_head",
    "mirror_of_next",
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


class RasterImageModel(GenerativeModel, ABC):
    """Pixels in raster order: subclasses compute features, and a `head` makes logits of them."""

    head: Head
    coordinates: Tensor
    grouped = False

    def __init__(self, config: ImageConfig) -> None:
        condition = Condition.from_classes(config.classes)
        super().__init__(config, Event(config.shape, levels=config.levels), condition)
        coordinates = coordinate_channels(*config.shape[1:])
        self.register_buffer("coordinates", coordinates, persistent=False)

    @abstractmethod
    def features(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        """Features of each pixel for the head, (B, C, H, W) -> (B, U, H, W)."""

    @abstractmethod
    def decode_row(self, x: Tensor, run: IncrementalPass) -> None:
        """What is computed once for row r of the pass, from the rows of x above it."""

    @abstractmethod
    def decode_pixel(self, x: Tensor, run: IncrementalPass) -> Tensor:
        """Features (B, U, 1, 1) of the pixel of the pass, from the earlier ones in x."""

    def logits(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        """All conditionals in one pass, (B, C, H, W) -> (B, C, H, W, K)."""
        return self.head.logits(self.features(x, cond), x)

    def log_prob(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        """log p(x | cond) in nats, (B, C, H, W) -> (B,)."""
        return self.head.log_prob(self.features(x, cond), x)

    def data_dependent_init(self, batch: Batch, rng: Rng) -> None:
        """A head that copies takes the most frequent colour for the one of the data set."""
        if isinstance(self.head, CopyMixtureHead):
            self.head.near.set_colour(batch[0])

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
            self.decode_row(x, cache.row)
        if channel == 0 or self.grouped:
            cache.features = self.decode_pixel(x, replace(cache.row, c=c))
        assert cache.features is not None
        place = (slice(i, i + 1) for i in (r, c, channel))
        return self.head.logits(cache.features, x, *place)[:, 0, 0, 0], cache


class AutoregressiveImageModel(RasterImageModel):
    """Subclasses are final, set `head` and implement `vertical` and `horizontal`.

    Where the head copies, the network's `inputs` have the mirrored pixel beside the one to the
    left.
    """

    by_rows = True
    """Whether `horizontal` evaluates a whole row in one `IncrementalPass`."""

    def __init__(self, config: ImageConfig) -> None:
        super().__init__(config)
        C = config.shape[0]
        self.mirrors = getattr(config, "head", None) == COPY
        self.inputs = C + COORDINATE_CHANNELS + C * self.mirrors

    @abstractmethod
    def vertical(self, above: Tensor, run: Pass) -> None:
        """Evaluate the vertical stack; `above` (B, I, ., W) is the input one row above."""

    @abstractmethod
    def horizontal(self, left: Tensor, here: Tensor, run: Pass) -> Tensor:
        """Features (B, U, ., .) from the input one column to the left, and at the positions."""

    def features(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        inputs = self._input(x, ALL, ALL)
        e = condition_features(self.condition, cond, self.dtype)
        run = FullPass(x.shape[2], x.shape[3], e)
        self.vertical(F.pad(inputs, (0, 0, 1, 0))[:, :, :-1], run)
        return self.horizontal(F.pad(inputs, (1, 0))[..., :-1], inputs, run)

    def decode_row(self, x: Tensor, run: IncrementalPass) -> None:
        self.vertical(self._input_at(x, run.r - 1), run)

    def decode_pixel(self, x: Tensor, run: IncrementalPass) -> Tensor:
        assert run.c is not None
        left, here = self._input_at(x, run.r, run.c - 1), self._input_at(x, run.r, run.c)
        return self.horizontal(left, here, run)

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
        logits = self.head.logits(features, x, slice(r, r + 1))  # (B, C, 1, W, K)
        return logits[:, :, 0].transpose(1, 2).flatten(1, 2), cache

    def _input_at(self, x: Tensor, r: int, c: int | None = None) -> Tensor:
        """The network's input at row r, or at its pixel c; zeros outside the image."""
        rows = slice(max(r, 0), max(r, 0) + 1)
        columns = slice(None) if c is None else slice(max(c, 0), max(c, 0) + 1)
        inputs = self._input(x, rows, columns)
        return torch.zeros_like(inputs) if min(r, c or 0) < 0 else inputs

    def _input(self, x: Tensor, rows: slice, columns: slice) -> Tensor:
        coordinates = self.coordinates[:, rows, columns]
        inputs = network_input(x[:, :, rows, columns], self.config.levels, coordinates)
        if not self.mirrors:
            return inputs
        v = rescale_levels(x[:, :, rows], self.config.levels, coordinates.dtype)
        return torch.cat((inputs, mirror_of_next(v, columns)), 1)


def make_head(
    head: int | str, features: int, shape: tuple[int, int, int], levels: int
) -> CategoricalHead | CopyMixtureHead:
    """The head that copies, or a categorical one with so many hidden units."""
    if isinstance(head, int):
        return CategoricalHead(features, head, shape[0], levels)
    return CopyMixtureHead(features, shape, levels)


def network_input(x: Tensor, levels: int, coordinates: Tensor) -> Tensor:
    """Values from -1 to 1 and coordinates, (B, C, ., .) and (I, ., .) -> (B, C + I, ., .)."""
    v = rescale_levels(x, levels, coordinates.dtype)
    if not len(coordinates):
        return v
    return torch.cat((v, coordinates.expand(len(x), -1, -1, -1)), 1)


def mirror_of_next(v: Tensor, columns: slice) -> Tensor:
    """What mirrors the pixel to the right of each column, or 0 where it is not known before it.

    v (B, C, ., W). The pixel at column c has the input of column c - 1, and its mirror is at
    W - 1 - c.

    >>> mirror_of_next(torch.tensor([[[[1.0, 2.0, 3.0, 4.0]]]]), slice(None))
    tensor([[[[0., 2., 1., 0.]]]])
    """
    W = v.shape[3]
    left = torch.arange(W, device=v.device)[columns]
    mirror = W - 2 - left
    known = (mirror >= 0) & (mirror <= left)
    return v[..., mirror.clamp(min=0)] * known


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
