"""What the models of pixels in raster order share: order, conditioning, scoring, a cached pass.

A model of this file is a network that gives features of each pixel from the earlier ones,

    vertical(above, run)             what the rows above contribute, kept in the pass
    horizontal(left, here, run)      the features (B, U, ., .) of the places of the pass

and a head that turns them into logits. Scoring runs both over `Whole` maps; sampling runs the
first once a row and the second once a pixel, `Cached`. The channels of a pixel are drawn in turn:
either features do not see their own pixel and the head does (`Categorical`, `Mixture`), or
features and head are split into channel groups (`Grouped`), as `grouped` says.

Shapes: B batch, C channels, H rows, W columns, U units, K levels.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo_autoregressive.heads import Head
from zoo_autoregressive.incremental_decoding import Cached, Memory, Pass, Whole
from zoo_core.plugin import Condition, Event, GenerativeModel, one_hot, rescale_levels

__all__ = [
    "CONSTANTS",
    "Cache",
    "RasterConfig",
    "RasterModel",
    "constants",
    "encode",
    "raster_order",
]

CONSTANTS = 3
"""Inputs of a network beside the channels: one, and the row and the column from -1 to 1."""


class RasterConfig(Protocol):
    """What every Config of such a model has."""

    @property
    def shape(self) -> tuple[int, int, int]: ...
    @property
    def levels(self) -> int: ...
    @property
    def classes(self) -> int | None: ...


@dataclass
class Cache:
    """The pass over the current row, and the features of the current pixel."""

    row: Cached
    features: Tensor | None = None
    memory: Memory = field(default_factory=Memory)


class RasterModel(GenerativeModel, ABC):
    """Subclasses are final, set `head` and implement `vertical` and `horizontal`."""

    head: Head
    constants: Tensor
    grouped = False

    def __init__(self, config: RasterConfig) -> None:
        condition = Condition("classes", config.classes) if config.classes else None
        super().__init__(config, Event(config.shape, levels=config.levels), condition)
        self.register_buffer("constants", constants(*config.shape[1:]), persistent=False)

    @abstractmethod
    def vertical(self, above: Tensor, run: Pass) -> None:
        """Run on inputs (B, C + 3, ., W) one row above the places of the pass."""

    @abstractmethod
    def horizontal(self, left: Tensor, here: Tensor, run: Pass) -> Tensor:
        """Features (B, U, ., .) from inputs at the places of the pass and one column before."""

    def features(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        """What the head sees of the earlier pixels, (B, C, H, W) -> (B, U, H, W)."""
        inputs = encode(x, self.config.levels, self.constants)
        run = Whole(x.shape[2], x.shape[3], one_hot(cond, self.config.classes, self.dtype))
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

    def begin(self, batch: int, cond: Tensor | None = None) -> Cache:
        """The cache of images of which nothing is known."""
        memory = Memory()
        e = one_hot(cond, self.config.classes, self.dtype)
        return Cache(Cached(memory, self.config.shape[2], e), memory=memory)

    def conditional(self, x: Tensor, i: int, cache: Cache) -> tuple[Tensor, Cache]:
        """Logits (B, K) of value `order()[i]`, given the earlier ones in x (B, C, H, W)."""
        pixel, channel = divmod(i, self.config.shape[0])
        r, c = divmod(pixel, self.config.shape[2])
        if c == channel == 0:
            cache.row = replace(cache.row, r=r)
            self.vertical(self._at(x, r - 1), cache.row)
        if channel == 0 or self.grouped:
            left, here = self._at(x, r, c - 1), self._at(x, r, c)
            cache.features = self.horizontal(left, here, replace(cache.row, c=c))
        assert cache.features is not None
        logits = self.head.logits(cache.features, x[:, :, r : r + 1, c : c + 1])
        return logits[:, channel, 0, 0], cache

    def _at(self, x: Tensor, r: int, c: int | None = None) -> Tensor:
        """Inputs at row r, or at its pixel c, which are zeros outside the image."""
        rows = slice(max(r, 0), max(r, 0) + 1)
        columns = slice(None) if c is None else slice(max(c, 0), max(c, 0) + 1)
        here = self.constants[:, rows, columns]
        inputs = encode(x[:, :, rows, columns], self.config.levels, here)
        return torch.zeros_like(inputs) if min(r, c or 0) < 0 else inputs


def encode(x: Tensor, levels: int, constants: Tensor) -> Tensor:
    """Channels and constants, (B, C, ., .) and (I, ., .) -> (B, C + I, ., .)."""
    v = rescale_levels(x, levels, constants.dtype)
    if not len(constants):
        return v
    return torch.cat((v, constants.expand(len(x), -1, -1, -1)), 1)


def raster_order(channels: int, height: int, width: int) -> Tensor:
    """Flat positions of (C, H, W), pixel by pixel, int64 (D,)."""
    D = channels * height * width
    return torch.arange(D).view(channels, -1).T.flatten()


def constants(height: int, width: int) -> Tensor:
    """One, and the row and the column from -1 to 1, (3, H, W).

    Float64 first, rounded once: in float32 they differ in last bits from machine to machine.
    """
    rows, columns = (torch.linspace(-1, 1, n, dtype=torch.float64) for n in (height, width))
    places = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack((torch.ones_like(places[0]), *places)).to(torch.get_default_dtype())
