"""The base of autoregressive models over a network of the signature `sequence`.

An event is a grid of cells, which follow one another in a fixed order: the pixels of an image, or
its patches, or the places of a sequence, which is one row. The network reads a start token and the
cells so far, each the sum of one embedding for each of its values, and the head turns its output
at a cell into the conditionals of that cell's values, one after the other:

    s_n = network([start, x_1, .., x_{n-1}])_n,    p(x_n | x_<n) = head(s_n)

Scoring calls the network once, sampling once a cell with its cache.

Shapes: B batch, P = H W cells of C values each, K levels, F outputs.
"""

from abc import ABC
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from zoo_autoregressive.heads import Head, categorical_log_prob, split_channels
from zoo_core.plugin import Condition, Event, GenerativeModel, SequenceNetwork, build_network

__all__ = ["Cells", "DirectHead", "SequenceCache", "SequenceModel", "cells"]


class Cells(NamedTuple):
    """The cells of an event in the order of generation."""

    positions: Tensor
    """The flat positions of each cell's values in the event, int64 (P, C)."""
    grid: tuple[int, int]
    """H and W."""
    places: Tensor | None
    """Row and column of each cell, int64 (P, 2); None of a sequence."""


def cells(shape: tuple[int, ...], order: Tensor | None = None, *, patch: int = 1) -> Cells:
    """The cells of events (D,), or of `patch` x `patch` pixels of images (C, H, W).

    `order` are the numbers of the cells, counted in raster order, in the order of generation.

    >>> cells((1, 2, 4), patch=2).positions
    tensor([[0, 1, 4, 5],
            [2, 3, 6, 7]])
    """
    C, H, W = shape if len(shape) == 3 else (1, 1, shape[0])
    flat = torch.arange(C * H * W).view(1, C, H, W)
    folded = nn.functional.pixel_unshuffle(flat, patch) if patch > 1 else flat
    grid = folded.shape[2], folded.shape[3]
    number = torch.arange(grid[0] * grid[1]) if order is None else order
    places = torch.stack((number // grid[1], number % grid[1]), 1)
    positions = folded[0].flatten(1).T[number]
    return Cells(positions, grid, places if len(shape) == 3 else None)


class DirectHead(nn.Module):
    """Cells of one value, whose logits are the network's outputs: K of them, or 1 of a bit."""

    def __init__(self, levels: int) -> None:
        super().__init__()
        self.levels = levels

    def logits(self, s: Tensor, x: Tensor) -> Tensor:
        return split_channels(s, 1, self.levels)

    def log_prob(self, s: Tensor, x: Tensor) -> Tensor:
        return categorical_log_prob(self.logits(s, x), x)


@dataclass
class SequenceCache:
    """The network's cache, and its output (B, F, 1, 1) at the current cell."""

    network: Any
    features: Tensor | None = None


class SequenceModel(GenerativeModel, ABC):
    """Subclasses are final and pass their head, with the number of outputs that it takes.

    Value v of number c in its cell is row c K + v of the embedding; the last row starts.
    """

    head: Head
    network: SequenceNetwork
    positions: Tensor
    rows: Tensor

    def __init__(
        self,
        config: Any,
        event: Event,
        condition: Condition,
        head: Head,
        outputs: int,
        cells: Cells,
    ) -> None:
        super().__init__(config, event, condition)
        P, C = cells.positions.shape
        K = event.levels or 0
        self.grid, self._start = cells.grid, C * K
        self.register_buffer("positions", cells.positions, persistent=False)
        self.register_buffer("rows", torch.arange(C) * K, persistent=False)
        network = build_network(
            config.network,
            "sequence",
            vocabulary=C * K + 1,
            length=P,
            outputs=outputs,
            condition=condition,
            places=cells.places,
        )
        self.network = cast(SequenceNetwork, network)
        self.head = head

    def features(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        """The network's outputs at each cell in their order, (B, *S) -> (B, F, H, W)."""
        tokens = self._tokens(x.flatten(1)[:, self.positions])
        s = self.network(torch.cat((self._first(len(x)), tokens[:, :-1]), 1), cond)
        return s.transpose(1, 2).reshape(len(x), -1, *self.grid)

    def logits(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        """All conditionals in one pass, (B, *S) -> (B, *S, K)."""
        f = self.head.logits(self.features(x, cond), self._ordered(x))  # (B, C, H, W, K)
        f = f.flatten(2, 3).transpose(1, 2).flatten(1, 2)  # in the order of generation
        return f[:, self.positions.flatten().argsort()].view(*x.shape, -1)

    def log_prob(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        """log p(x | cond) in nats, (B, *S) -> (B,)."""
        return self.head.log_prob(self.features(x, cond), self._ordered(x))

    def order(self) -> Tensor:
        """Cell by cell, the values of a cell in turn, int64 (D,)."""
        return self.positions.flatten().cpu()

    def init_cache(self, batch: int, cond: Tensor | None = None) -> SequenceCache:
        """The cache before the first value of each event is drawn; it holds the condition."""
        return SequenceCache(self.network.init_cache(batch, cond))

    def decode_step(self, x: Tensor, i: int, cache: SequenceCache) -> tuple[Tensor, SequenceCache]:
        """Logits (B, K) of value `order()[i]`, given the earlier ones in x (B, *S)."""
        n, value = divmod(i, len(self.rows))
        values = x.flatten(1)
        if value == 0:
            earlier = values[:, self.positions[n - 1]].unsqueeze(1)  # (B, 1, C)
            last = self._tokens(earlier) if n else self._first(len(x))
            cache.features = self.network(last, cache=cache.network).transpose(1, 2)[..., None]
        assert cache.features is not None
        here = values[:, self.positions[n], None, None]  # (B, C, 1, 1)
        return self.head.logits(cache.features, here)[:, value, 0, 0], cache

    def _ordered(self, x: Tensor) -> Tensor:
        """The values of each cell, in the order of generation, (B, *S) -> (B, C, H, W)."""
        values: Tensor = x.flatten(1)[:, self.positions].transpose(1, 2)
        return values.reshape(len(x), -1, *self.grid)

    def _tokens(self, values: Tensor) -> Tensor:
        """Rows of the embedding, (B, T) or (B, T, C), of the values (B, T, C) of cells."""
        return values[..., 0] if len(self.rows) == 1 else values + self.rows

    def _first(self, batch: int) -> Tensor:
        """The start token of every value of a cell, (B, 1) or (B, 1, C)."""
        C = len(self.rows)
        return self.rows.new_full((batch, 1) if C == 1 else (batch, 1, C), self._start)
