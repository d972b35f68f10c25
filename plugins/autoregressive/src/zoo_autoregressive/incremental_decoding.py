"""Incremental decoding: one network, evaluated on whole maps or one row or pixel at a time.

A network of raster convolutions is written once, as calls on a pass. Scoring uses a `FullPass`
over all positions. Sampling uses an `IncrementalPass`, which evaluates the same equations at the
new positions only and reads what it needs of earlier ones from a `Cache`. A raster convolution
sees n rows that end at its own and columns from `left` before it to `right` after it; outside
the image everything is zero.

Maps at half the resolution have one position for 2 x 2 positions of the finer map: the coarse
position (R, C) is computed together with the fine (2R, 2C), on which it depends, and is read by
the fine positions (2R..2R+1, 2C..2C+1).

Shapes: B batch, I input and O output features, H rows, W columns.
"""

from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Cache", "FullPass", "IncrementalPass", "Pass", "PixelConv", "RasterConv", "convolve"]


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A convolution without padding; a matrix product where that takes no copy.

    That is where the kernel covers all of x, or is 1 x 1 on features that are innermost in memory,
    as in an `IncrementalPass`. A library's convolution of so few positions costs several times as
    much.
    """
    if x.shape[2:] == weight.shape[2:]:
        return F.linear(x.flatten(1), weight.flatten(1), bias)[..., None, None]
    if weight.shape[2:] == (1, 1) and x.stride(1) == 1:
        return F.linear(x.permute(0, 2, 3, 1), weight.flatten(1), bias).permute(0, 3, 1, 2)
    return F.conv2d(x, weight, bias)


class PixelConv(nn.Conv2d):
    """A 1 x 1 convolution."""

    def __init__(self, inputs: int, outputs: int, *, bias: bool = True) -> None:
        super().__init__(inputs, outputs, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return convolve(x, self.weight, self.bias)


class RasterConv(nn.Conv2d):
    """An n x k convolution over the n rows up to its own, with zeros outside the image.

    `left` is the number of columns it sees before its own. With `mask` it is causal: in
    its own row it sees no column after its own, and its own only where the mask is true; the
    mask is (O, I / groups).
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
        groups: int = 1,
        bias: bool = True,
        mask: Tensor | None = None,
    ) -> None:
        super().__init__(inputs, outputs, (n, k), stride, groups=groups, bias=bias)
        self.left, self.right = left, k - 1 - left
        if mask is not None:
            visible = torch.ones(self.weight.shape, dtype=torch.bool)
            visible[:, :, -1, left + 1 :] = False
            visible[:, :, -1, left] = mask
            mask = visible
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x: Tensor, columns: int = 0) -> Tensor:
        """The convolution of a padded map, or of one that lacks `columns` zeros on both sides."""
        return F.conv2d(
            x, self.visible_weight(), self.bias, self.stride, (0, columns), groups=self.groups
        )

    def visible_weight(self) -> Tensor:
        """The weight, zero where the mask hides its input."""
        return self.weight if self.mask is None else self.weight * self.mask


class Pass(Protocol):
    """The positions at which a network is evaluated; `e` is the one-hot class (B, classes)."""

    @property
    def e(self) -> Tensor | None: ...

    def conv(self, m: RasterConv, x: Tensor) -> Tensor:
        """m(x) at the positions of x."""
        ...

    def down(self, m: RasterConv, x: Tensor) -> Tensor | None:
        """The strided m(x) at the coarse positions of x, or None if x completes none."""
        ...

    def up(self, m: nn.ConvTranspose2d, y: Tensor | None) -> Tensor:
        """m(y) at this pass's positions, from the cache where there is no new coarse y."""
        ...

    def attend(self, key: nn.Module, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attention of pixels (B, heads, n, d), in raster order, to themselves and all before."""
        ...

    def coarser(self) -> "Pass":
        """The pass through the map at half the resolution."""
        ...

    def put(self, key: nn.Module, x: Tensor) -> None:
        """Store what the vertical stack hands to the horizontal one."""
        ...

    def get(self, key: nn.Module) -> Tensor:
        """What was stored under this key, at this pass's positions."""
        ...


class FullPass:
    """All positions of maps (H, W) at once."""

    def __init__(
        self,
        height: int,
        width: int,
        e: Tensor | None,
        stored: dict[nn.Module, Tensor] | None = None,
    ) -> None:
        self.height, self.width, self.e = height, width, e
        self._stored = {} if stored is None else stored

    def conv(self, m: RasterConv, x: Tensor) -> Tensor:
        both = min(m.left, m.right)  # the convolution pads these for free; F.pad copies
        padding = (m.left - both, m.right - both, m.kernel_size[0] - 1, 0)
        y: Tensor = m(F.pad(x, padding) if any(padding) else x, both)
        return y

    down = conv

    def up(self, m: nn.ConvTranspose2d, y: Tensor | None) -> Tensor:
        assert y is not None
        x: Tensor = m(y)
        return x[:, :, : self.height, : self.width]

    def attend(self, key: nn.Module, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)

    def coarser(self) -> "FullPass":
        return FullPass((self.height + 1) // 2, (self.width + 1) // 2, self.e, self._stored)

    def put(self, key: nn.Module, x: Tensor) -> None:
        self._stored[key] = x

    def get(self, key: nn.Module) -> Tensor:
        return self._stored.pop(key)


@dataclass
class _Rows:
    """The last n rows of a convolution's padded input; `r` is the number of the newest."""

    x: Tensor  # (B, n, left + W + right, I)
    r: int


@dataclass
class Cache:
    """What incremental passes through one network remember, keyed by the module that reads it."""

    rows: dict[nn.Module, _Rows] = field(default_factory=dict)  # inputs of convolutions
    weights: dict[nn.Module, Tensor] = field(default_factory=dict)  # of convolutions, (O, n k I)
    stored: dict[nn.Module, Tensor] = field(default_factory=dict)  # `put`, and upsampled rows
    states: dict[nn.Module, Any] = field(
        default_factory=dict
    )  # of cells in `lstm.py`, and of attention


@dataclass(frozen=True)
class IncrementalPass:
    """Row r of maps of W columns, or only its pixel c; earlier positions are in the cache."""

    cache: Cache
    width: int
    e: Tensor | None
    r: int = 0
    c: int | None = None

    def conv(self, m: RasterConv, x: Tensor) -> Tensor:
        return self._product(m, self._append(m, x))

    def down(self, m: RasterConv, x: Tensor) -> Tensor | None:
        rows = self._append(m, x)
        if self.r % 2 or (self.c or 0) % 2:
            return None
        return self._product(m, rows)

    def up(self, m: nn.ConvTranspose2d, y: Tensor | None) -> Tensor:
        first, stored = 2 * ((self.c or 0) // 2), self.cache.stored
        if y is not None:
            x = _upsampled(m, y)  # (B, O, 2, 2 W / 2) or (B, O, 2, 2)
            if m not in stored:
                stored[m] = _features_innermost(x.new_zeros(*x.shape[:3], self.width + 1))
            stored[m][..., first : first + x.shape[3]] = x[..., : self.width + 1 - first]
        row = stored[m][:, :, self.r % 2, None]
        return row[..., : self.width] if self.c is None else row[..., self.c : self.c + 1]

    def attend(self, key: nn.Module, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        n, first = q.shape[2], self.r * self.width + (self.c or 0)
        earlier = self.cache.states.get(key, (k[:, :, :0], v[:, :, :0]))
        k, v = (
            torch.cat((old[:, :, :first], new), 2)
            for old, new in zip(earlier, (k, v), strict=True)
        )
        self.cache.states[key] = k, v
        seen = None if n == 1 else q.new_ones(n, first + n, dtype=torch.bool).tril(first)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=seen)

    def coarser(self) -> "IncrementalPass":
        c = None if self.c is None else self.c // 2
        return IncrementalPass(self.cache, (self.width + 1) // 2, self.e, self.r // 2, c)

    def put(self, key: nn.Module, x: Tensor) -> None:
        self.cache.stored[key] = x

    def get(self, key: nn.Module) -> Tensor:
        x = self.cache.stored[key]
        return x if self.c is None else x[..., self.c : self.c + 1]

    def _append(self, m: RasterConv, x: Tensor) -> Tensor:
        """The rows that m sees (B, n, left + W + right, I), with x written at its position."""
        inputs = self.cache.rows
        if m not in inputs:
            n, columns = m.kernel_size[0], m.left + self.width + m.right
            inputs[m] = _Rows(x.new_zeros(len(x), n, columns, x.shape[1]), self.r)
        rows = inputs[m]
        if rows.r != self.r:
            rows.x = F.pad(rows.x[:, 1:], (0, 0, 0, 0, 0, 1))
            rows.r = self.r
        first = m.left + (self.c or 0)
        rows.x[:, -1, first : first + x.shape[3]] = x[:, :, 0].transpose(1, 2)
        return rows.x

    def _product(self, m: RasterConv, rows: Tensor) -> Tensor:
        """m of the rows that it sees, as one matrix product, (B, O, 1, .)."""
        weights, k = self.cache.weights, m.kernel_size[1]
        if m not in weights:
            weights[m] = m.visible_weight().permute(0, 2, 3, 1).flatten(1)
        if self.c is not None:
            windows = rows[:, None, :, self.c : self.c + k]  # (B, 1, n, k, I)
        else:
            windows = rows.unfold(2, k, m.stride[1]).permute(0, 2, 1, 4, 3)  # (B, W, n, k, I)
        if m.groups > 1:  # depthwise
            y = (windows.flatten(2, 3) * weights[m].view(m.groups, -1).T).sum(2)
            y = y if m.bias is None else y + m.bias
        else:
            y = F.linear(windows.flatten(2), weights[m], m.bias)  # (B, ., O)
        return y.transpose(1, 2)[:, :, None]


def _upsampled(m: nn.ConvTranspose2d, y: Tensor) -> Tensor:
    """m(y) of a row or pixel y (B, I, 1, .), each of whose positions becomes 2 x 2."""
    assert m.bias is not None
    x: Tensor = y[:, :, 0].transpose(1, 2) @ m.weight.flatten(1)  # (B, ., O 2 2)
    x = x.view(*x.shape[:2], *m.weight.shape[1:]).permute(0, 2, 3, 1, 4)  # (B, O, 2, ., 2)
    return x.flatten(3) + m.bias[:, None, None]


def _features_innermost(x: Tensor) -> Tensor:
    """The same map (B, O, ., .) with the features of a position side by side in memory."""
    return x.contiguous(memory_format=torch.channels_last)
