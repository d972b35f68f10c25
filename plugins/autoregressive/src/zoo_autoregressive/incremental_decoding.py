"""One network, two ways through it: `Whole` maps at once, or `Cached`, a row or pixel at a time.

A network of raster convolutions is written once, as calls of a pass. Sampling then runs the very
equations that scoring runs, on what is new at each pixel, beside a memory of what it needs of
the past. A raster convolution sees n rows that end at its own and columns from `left` before it
to `right` after it; outside the image everything is zero.

Coarser maps have one place for 2 x 2 places of the finer: coarse (R, C) is computed with fine
(2R, 2C), which it depends on, and serves the fine places (2R..2R+1, 2C..2C+1).

Shapes: B batch, I and O features, H rows, W columns.
"""

from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Cached", "Pass", "RasterConv", "Whole"]


class RasterConv(nn.Conv2d):
    """An n x k convolution over the n rows up to its own, with zeros outside the image.

    With `mask` (O, I) the last tap `left` of its own row is the last it sees, and there only
    where the mask is true; every later column of that row is blind.
    """

    mask: Tensor | None

    def __init__(
        self,
        inputs: int,
        outputs: int,
        n: int,
        k: int,
        *,
        left: int,
        stride: int = 1,
        mask: Tensor | None = None,
    ) -> None:
        super().__init__(inputs, outputs, (n, k), stride)
        self.left, self.right = left, k - 1 - left
        if mask is not None:
            seen = torch.ones(self.weight.shape, dtype=torch.bool)
            seen[:, :, -1, left + 1 :] = False
            seen[:, :, -1, left] = mask
            mask = seen
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x: Tensor, columns: int = 0) -> Tensor:
        """Of a padded map, or of one that lacks `columns` zeros on both sides."""
        weight = self.weight if self.mask is None else self.weight * self.mask
        return F.conv2d(x, weight, self.bias, self.stride, (0, columns))


class Pass(Protocol):
    """What a network asks of the way it is run; `e` is the one-hot class (B, classes) or None."""

    @property
    def e(self) -> Tensor | None: ...

    def conv(self, m: RasterConv, x: Tensor) -> Tensor:
        """m at the places of x."""
        ...

    def down(self, m: RasterConv, x: Tensor) -> Tensor | None:
        """The strided m at the coarse places of x; None where there is none."""
        ...

    def up(self, m: nn.ConvTranspose2d, y: Tensor | None) -> Tensor:
        """m of the coarse y, or of the last one, at this pass's places."""
        ...

    def coarser(self) -> "Pass":
        """The pass through the coarse map."""
        ...

    def keep(self, key: nn.Module, x: Tensor) -> None:
        """Remember what the vertical stack hands to the horizontal one."""
        ...

    def kept(self, key: nn.Module) -> Tensor:
        """What was kept, at this pass's places."""
        ...


class Whole:
    """All places of maps (H, W) at once."""

    def __init__(
        self,
        height: int,
        width: int,
        e: Tensor | None,
        kept: dict[nn.Module, Tensor] | None = None,
    ) -> None:
        self.height, self.width, self.e = height, width, e
        self._kept = {} if kept is None else kept

    def conv(self, m: RasterConv, x: Tensor) -> Tensor:
        both = min(m.left, m.right)  # which costs nothing; the rest is a copy
        padding = (m.left - both, m.right - both, m.kernel_size[0] - 1, 0)
        y: Tensor = m(F.pad(x, padding) if any(padding) else x, both)
        return y

    down = conv

    def up(self, m: nn.ConvTranspose2d, y: Tensor | None) -> Tensor:
        assert y is not None
        x: Tensor = m(y)
        return x[:, :, : self.height, : self.width]

    def coarser(self) -> "Whole":
        return Whole((self.height + 1) // 2, (self.width + 1) // 2, self.e, self._kept)

    def keep(self, key: nn.Module, x: Tensor) -> None:
        self._kept[key] = x

    def kept(self, key: nn.Module) -> Tensor:
        return self._kept.pop(key)


@dataclass
class _Rows:
    """The last n rows of a convolution's input, padded, of which row `r` is the newest."""

    x: Tensor  # (B, I, n, left + W + right)
    r: int


@dataclass
class Memory:
    """What `Cached` passes through one network remember, by the module that needs it."""

    rows: dict[nn.Module, _Rows] = field(default_factory=dict)
    kept: dict[nn.Module, Tensor] = field(default_factory=dict)
    scans: dict[nn.Module, Any] = field(default_factory=dict)  # of `lstm.py`


@dataclass(frozen=True)
class Cached:
    """Row r of maps of W columns, or only its pixel c; earlier ones have passed before."""

    memory: Memory
    width: int
    e: Tensor | None
    r: int = 0
    c: int | None = None

    def conv(self, m: RasterConv, x: Tensor) -> Tensor:
        rows = self._put(m, x)
        y: Tensor = m(rows if self.c is None else rows[..., self.c : self.c + m.kernel_size[1]])
        return y

    def down(self, m: RasterConv, x: Tensor) -> Tensor | None:
        rows = self._put(m, x)
        if self.r % 2 or (self.c or 0) % 2:
            return None
        y: Tensor = m(rows if self.c is None else rows[..., self.c : self.c + m.kernel_size[1]])
        return y

    def up(self, m: nn.ConvTranspose2d, y: Tensor | None) -> Tensor:
        first, kept = 2 * ((self.c or 0) // 2), self.memory.kept
        if y is not None:
            x = m(y)  # (B, O, 2, 2 W / 2) or (B, O, 2, 2)
            if m not in kept:
                kept[m] = x.new_zeros(*x.shape[:3], self.width + 1)
            kept[m][..., first : first + x.shape[3]] = x[..., : self.width + 1 - first]
        row = kept[m][:, :, self.r % 2, None]
        return row[..., : self.width] if self.c is None else row[..., self.c : self.c + 1]

    def coarser(self) -> "Cached":
        c = None if self.c is None else self.c // 2
        return Cached(self.memory, (self.width + 1) // 2, self.e, self.r // 2, c)

    def keep(self, key: nn.Module, x: Tensor) -> None:
        self.memory.kept[key] = x

    def kept(self, key: nn.Module) -> Tensor:
        x = self.memory.kept[key]
        return x if self.c is None else x[..., self.c : self.c + 1]

    def _put(self, m: RasterConv, x: Tensor) -> Tensor:
        """The rows that m sees, with x in its place."""
        n, memory = m.kernel_size[0], self.memory.rows
        if m not in memory:
            empty = x.new_zeros(*x.shape[:2], n, m.left + self.width + m.right)
            memory[m] = _Rows(empty, self.r)
        rows = memory[m]
        if rows.r != self.r:
            rows.x = F.pad(rows.x[:, :, 1:], (0, 0, 0, 1))
            rows.r = self.r
        first = m.left + (self.c or 0)
        rows.x[:, :, -1:, first : first + x.shape[3]] = x
        return rows.x
