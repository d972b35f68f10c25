"""The base of autoregressive models over a network of the signature `sequence`.

An event is a grid of cells, which follow one another in a fixed order: the pixels of an image, or
its patches, or the places of a sequence, which is one row. At a cell the network reads the cell
before it, or several cells near it that come before, each the sum of one embedding for each of its
values, and the head turns its output into the conditionals of the cell's values, one after the
other:

    s_n = network([start, x_1, .., x_{n-1}])_n,    p(x_n | x_<n) = head(s_n)

Scoring calls the network once, sampling once a cell with its cache.

Shapes: B batch, P = H W cells of C values each, J cells that are read at one, K levels, F outputs.
"""

from abc import ABC
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from zoo_autoregressive.copy_mixture import CopyMixtureHead
from zoo_autoregressive.heads import ALL, Head, categorical_log_prob, split_channels
from zoo_core.plugin import (
    Batch,
    Condition,
    Event,
    GenerativeModel,
    Rng,
    SequenceNetwork,
    build_network,
)

__all__ = ["Cells", "DirectHead", "SequenceCache", "SequenceModel", "cells", "with_neighbours"]


NEIGHBOURS = ((1, 0), (1, -1), (1, 1), (2, 0), (0, -2))
"""Rows above and columns to the right of a cell: N, NW, NE, NN, WW; W is the cell before."""


class Cells(NamedTuple):
    """The cells of an event in the order of generation."""

    positions: Tensor
    """The flat positions of each cell's values in the event, int64 (P, C)."""
    grid: tuple[int, int]
    """H and W."""
    places: Tensor | None
    """Row and column of each cell, int64 (P, 2); None of a sequence."""
    near: Tensor
    """The cells that are read at each, in the order of generation, int64 (P, J); -1 for none."""


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
    before = torch.arange(len(number))[:, None] - 1
    return Cells(positions, grid, places if len(shape) == 3 else None, before)


def with_neighbours(cells: Cells) -> Cells:
    """Cells in raster order at which those around them are read, as by a first convolution."""
    H, W = cells.grid
    r, c = torch.arange(H)[:, None], torch.arange(W)
    found = [cells.near[:, 0]]
    for up, right in NEIGHBOURS:
        row, column = torch.broadcast_tensors(r - up, c + right)
        inside = (row >= 0) & (column >= 0) & (column < W)
        found.append(torch.where(inside, row * W + column, -1).flatten())
    return cells._replace(near=torch.stack(found, 1))


class DirectHead(nn.Module):
    """Cells of one value, whose logits are the network's outputs: K of them, or 1 of a bit."""

    def __init__(self, levels: int) -> None:
        super().__init__()
        self.levels = levels

    def logits(
        self, s: Tensor, x: Tensor, rows: slice = ALL, columns: slice = ALL, channels: slice = ALL
    ) -> Tensor:
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

    Value v of number c of the cell that is read as number j is row (j C + c) K + v of the
    embedding; the last row stands for what is outside the event, as before its first cell.
    """

    head: Head
    network: SequenceNetwork
    positions: Tensor
    near: Tensor
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
        (P, C), J, K = cells.positions.shape, cells.near.shape[1], event.levels or 0
        self.grid, self._outside = cells.grid, J * C * K
        rows = torch.arange(J * C).view(J, C) * K
        self.register_buffer("positions", cells.positions, persistent=False)
        self.register_buffer("near", cells.near, persistent=False)
        self.register_buffer("rows", rows, persistent=False)
        network = build_network(
            config.network,
            "sequence",
            vocabulary=J * C * K + 1,
            length=P,
            outputs=outputs,
            condition=condition,
            places=cells.places,
        )
        self.network = cast(SequenceNetwork, network)
        self.head = head

    def features(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        """The network's outputs at each cell in their order, (B, *S) -> (B, F, H, W)."""
        s = self.network(self._tokens(x, slice(None)), cond)
        return s.transpose(1, 2).reshape(len(x), -1, *self.grid)

    def logits(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        """All conditionals in one pass, (B, *S) -> (B, *S, K)."""
        f = self.head.logits(self.features(x, cond), self._ordered(x))  # (B, C, H, W, K)
        f = f.flatten(2, 3).transpose(1, 2).flatten(1, 2)  # in the order of generation
        return f[:, self.positions.flatten().argsort()].view(*x.shape, -1)

    def log_prob(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        """log p(x | cond) in nats, (B, *S) -> (B,)."""
        return self.head.log_prob(self.features(x, cond), self._ordered(x))

    def data_dependent_init(self, batch: Batch, rng: Rng) -> None:
        """A head that copies takes the most frequent colour for the one of the data set."""
        if isinstance(self.head, CopyMixtureHead):
            self.head.near.set_colour(batch[0])

    def order(self) -> Tensor:
        """Cell by cell, the values of a cell in turn, int64 (D,)."""
        return self.positions.flatten().cpu()

    def init_cache(self, batch: int, cond: Tensor | None = None) -> SequenceCache:
        """The cache before the first value of each event is drawn; it holds the condition."""
        return SequenceCache(self.network.init_cache(batch, cond))

    def decode_step(self, x: Tensor, i: int, cache: SequenceCache) -> tuple[Tensor, SequenceCache]:
        """Logits (B, K) of value `order()[i]`, given the earlier ones in x (B, *S)."""
        n, value = divmod(i, self.rows.shape[1])
        if value == 0:
            s = self.network(self._tokens(x, slice(n, n + 1)), cache=cache.network)
            cache.features = s.transpose(1, 2)[..., None]
        assert cache.features is not None
        place = (slice(k, k + 1) for k in (*divmod(n, self.grid[1]), value))
        return self.head.logits(cache.features, self._ordered(x), *place)[:, 0, 0, 0], cache

    def _ordered(self, x: Tensor) -> Tensor:
        """The values of each cell, in the order of generation, (B, *S) -> (B, C, H, W)."""
        values: Tensor = x.flatten(1)[:, self.positions].transpose(1, 2)
        return values.reshape(len(x), -1, *self.grid)

    def _tokens(self, x: Tensor, n: slice) -> Tensor:
        """Rows of the embedding, (B, T) or (B, T, J C), for the cells n of x (B, *S)."""
        near = self.near[n]
        values = x.flatten(1)[:, self.positions[near.clamp(min=0)]]  # (B, T, J, C)
        tokens = torch.where((near >= 0)[..., None], values + self.rows, self._outside)
        return tokens.flatten(1) if self.rows.numel() == 1 else tokens.flatten(2)
