"""Gated PixelCNN: two stacks of gated masked convolutions (van den Oord et al., 2016).

https://arxiv.org/abs/1606.05328. The vertical stack v sees all rows above, the horizontal stack h
also the pixels to the left. With gate(y_1, y_2) = tanh(y_1) sigmoid(y_2) (eq. 2) a layer is

    n = down(across(v))                  rows r-k/2-1 .. r-1: a 1 x k, then a k/2 x 1 convolution
    v <- gate(n + same(v) + V_v e_c)     what row r adds reaches other rows only
    g = gate(link(n) + left(h) + V_h e_c)     columns c-k/2 .. c
    h <- h + residual(g),   s <- s + skip(g)                                        (Fig. 2, eq. 4)

and the head is relu, 1 x 1, relu, 1 x 1 on s. The first layer is of type A: its k x k window ends
one column to the left of the pixel and it has no residual; the others are of type B, 3 x 3. The
last layer computes neither v nor h. A class c enters each gate through its one-hot e_c.

Channels of a pixel are drawn in turn: horizontal features are split into C equal groups, and
group c sees channels before c of its own pixel: mask A on the first layer's `here`, mask B on the
pixel's own tap of `left`, on `out` and on the head.

Shapes: B batch, C channels, H rows, W columns, U units, K levels, F features a value.
"""

from dataclasses import dataclass
from typing import Annotated, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo_autoregressive.heads import categorical_log_prob, features_per_value, ordinal, to_logits
from zoo_core import Condition, Event, GenerativeModel, Range

__all__ = ["Config", "GatedPixelCNN"]


@dataclass(frozen=True)
class Config:
    """Event, width U and number of layers, the first layer's k. `classes` conditions on them."""

    shape: Annotated[tuple[int, int, int], Range(1, 4096)] = (1, 28, 28)
    levels: Annotated[int, Range(2, 65536)] = 2
    classes: Annotated[int, Range(1)] | None = None
    hidden: Annotated[int, Range(1)] = 128
    layers: Annotated[int, Range(2, 256)] = 10
    kernel: Literal[3, 5, 7, 9, 11] = 7
    head: Annotated[int, Range(1)] = 32
    dropout: Annotated[float, Range(0.0, 0.99)] = 0.0


def gate(y: Tensor) -> Tensor:
    """tanh(y_1) sigmoid(y_2) of the two halves of the channels, (B, 2U, H, W) -> (B, U, H, W)."""
    f, g = y.chunk(2, 1)
    return f.tanh() * g.sigmoid()


class ChannelConv(nn.Conv2d):
    """A 1 x n convolution over pixels to the left whose last tap keeps the channels' order.

    Output j of group g_j sees input i at its own pixel where g_i <= g_j, or g_i < g_j if `strict`.
    """

    mask: Tensor

    def __init__(self, g_in: Tensor, g_out: Tensor, n: int = 1, *, strict: bool = False) -> None:
        super().__init__(len(g_in), len(g_out), (1, n))
        mask = torch.ones(self.weight.shape, dtype=torch.bool)
        mask[:, :, 0, -1] = (g_in < g_out[:, None]) if strict else (g_in <= g_out[:, None])
        self.register_buffer("mask", mask, persistent=False)
        self.masked = not bool(mask.all())

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight * self.mask if self.masked else self.weight
        return F.conv2d(x, weight, self.bias)


class Layer(nn.Module):
    """One gated layer of both stacks; `first` is of type A, `last` feeds the head alone."""

    def __init__(self, c: Config, *, first: bool = False, last: bool = False) -> None:
        super().__init__()
        C, U = c.shape[0], c.hidden
        inputs, k = (C, c.kernel) if first else (U, 3)
        g, g_in = _groups(U, C), torch.arange(C)
        self.n, self.first, self.last, self.dropout = k // 2 + 1, first, last, c.dropout
        self.across = nn.Conv2d(inputs, U, (1, k), padding=(0, k // 2))
        self.down = nn.Conv2d(U, 2 * U, (self.n, 1))
        self.same = None if last else nn.Conv2d(inputs, 2 * U, 1)
        self.link = nn.Conv2d(2 * U, 2 * U, 1)
        self.left: nn.Conv2d = (
            nn.Conv2d(inputs, 2 * U, (1, self.n)) if first else ChannelConv(g, g.repeat(2), self.n)
        )
        self.here = ChannelConv(g_in, g.repeat(2), strict=True) if first and C > 1 else None
        self.out = ChannelConv(g, g if last else g.repeat(2))
        self.V = nn.Linear(c.classes, 2 * U if last else 4 * U, bias=False) if c.classes else None

    def forward(self, v: Tensor, h: Tensor, e: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """(v, h) of the layer below (B, U, H, W) to (v, h) of this one and its skip features."""
        V_v, V_h = self.shifts(e)
        n = self.down(F.pad(self.across(v), (0, 0, self.n, 0))[:, :, :-1])
        h, s = self.horizontal(self.link(n), self.window(h), h, V_h)
        return self.vertical(n, v, V_v), h, s

    def vertical(self, n: Tensor, v: Tensor, V_v: Tensor) -> Tensor:
        """v of the next layer at the rows of v (B, U, R, W); the last layer has none."""
        return v if self.same is None else self._drop(gate(n + self.same(v) + V_v))

    def window(self, h: Tensor) -> Tensor:
        """Rows padded so that `left` ends at the pixel itself, or before it if first."""
        return F.pad(h, (self.n, 0))[..., :-1] if self.first else F.pad(h, (self.n - 1, 0))

    def horizontal(
        self, link: Tensor, window: Tensor, h: Tensor, V_h: Tensor
    ) -> tuple[Tensor, Tensor]:
        """h of the next layer and skip features at the pixels of h (B, U, R, W)."""
        y = link + self.left(window) + V_h
        if self.here is not None:
            y = y + self.here(h)
        out = self.out(self._drop(gate(y)))
        if self.last:
            return h, out
        residual, skip = out.chunk(2, 1)
        return (residual if self.first else h + residual), skip

    def _drop(self, y: Tensor) -> Tensor:
        return F.dropout(y, self.dropout, self.training)

    def shifts(self, e: Tensor | None) -> tuple[Tensor, Tensor]:
        """V_v e_c and V_h e_c, (B, 2U, 1, 1) each, or zeros without classes."""
        if self.V is None or e is None:
            zero = self.down.weight.new_zeros(1)
            return zero, zero
        shift = self.V(e)[:, :, None, None]
        return (shift, shift) if self.last else tuple(shift.chunk(2, 1))


@dataclass
class Memory:
    """What one layer remembers of B partly drawn events in row r at column c."""

    V_v: Tensor
    V_h: Tensor
    above: Tensor  # (B, U, n, W) `across` of the n rows above r
    below: Tensor  # (B, 2U, 1, W) n of row r
    link: Tensor  # (B, 2U, 1, W)
    left: Tensor  # (B, C or U, 1, n or n - 1) h of the layer below to the left of c
    here: Tensor  # (B, C or U, 1, 1) h of the layer below at c


class GatedPixelCNN(GenerativeModel):
    """The stack of layers; `logits` runs it on images, `conditional` pixel by pixel."""

    def __init__(self, config: Config | None = None) -> None:
        c = config or Config()
        condition = Condition("classes", c.classes) if c.classes else None
        super().__init__(c, Event(c.shape, levels=c.levels), condition)
        L, C, per_value = c.layers, c.shape[0], features_per_value(c.levels)
        self.layers = nn.ModuleList(Layer(c, first=l == 0, last=l == L - 1) for l in range(L))
        groups = _groups(c.hidden, C), _groups(c.head, C), torch.arange(C)
        self.head = nn.Sequential(
            nn.ReLU(),
            ChannelConv(groups[0], groups[1]),
            nn.ReLU(),
            ChannelConv(groups[1], groups[2].repeat_interleave(per_value)),
        )

    def logits(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        """All conditionals in one pass, (B, C, H, W) -> (B, C, H, W, K)."""
        e = self._one_hot(cond)
        v = h = self._encode(x)
        s = v.new_zeros(1)
        for layer in self._stack():
            v, h, skip = layer(v, h, e)
            s = s + skip
        return self._split(self.head(s))

    def log_prob(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        """log p(x | cond) in nats, (B, C, H, W) -> (B,)."""
        return categorical_log_prob(self.logits(x, cond), x)

    def order(self) -> Tensor:
        """Pixels in raster order, the channels of a pixel in turn, int64 (D,)."""
        C, H, W = self.config.shape
        return torch.arange(C * H * W).view(C, H * W).T.flatten()

    def begin(self, batch: int, cond: Tensor | None = None) -> list[Memory]:
        """The cache of events of which nothing is known: a memory a layer."""
        e = self._one_hot(cond)
        return [self._blank(layer, batch, e) for layer in self._stack()]

    def conditional(self, x: Tensor, i: int, cache: list[Memory]) -> tuple[Tensor, list[Memory]]:
        """Logits (B, K) of value `order()[i]`, given the earlier ones in x."""
        C, _, W = self.config.shape
        pixel, channel = divmod(i, C)
        r, c = divmod(pixel, W)
        if i > 0 and channel == 0:
            _next_pixel(self._encode(x[:, :, r, c - 1, None, None]), cache)
        if r > 0 and c == channel == 0:
            self._next_row(self._encode(x[:, :, r - 1 : r]), cache)
        s = self._pixel(self._encode(x[:, :, r : r + 1, c : c + 1]), c, cache)
        return self._split(self.head(s))[:, channel, 0, 0], cache

    def _pixel(self, h: Tensor, c: int, cache: list[Memory]) -> Tensor:
        """Skip features (B, U, 1, 1) at column c, where h (B, C, 1, 1) is the pixel itself."""
        s = h.new_zeros(1)
        for layer, m in zip(self._stack(), cache, strict=True):
            m.here = h
            window = m.left if layer.first else torch.cat((m.left, h), -1)
            h, skip = layer.horizontal(m.link[..., c : c + 1], window, h, m.V_h)
            s = s + skip
        return s

    def _next_row(self, v: Tensor, cache: list[Memory]) -> None:
        """Take the row v (B, C, 1, W), now known, into the vertical stack."""
        for layer, m in zip(self._stack(), cache, strict=True):
            m.above = torch.cat((m.above[:, :, 1:], layer.across(v)), 2)
            v = layer.vertical(m.below, v, m.V_v)
            m.below = layer.down(m.above)
            m.link = layer.link(m.below)
            m.left = torch.zeros_like(m.left)

    def _blank(self, layer: Layer, batch: int, e: Tensor | None) -> Memory:
        C, _, W = self.config.shape
        inputs, taps = (C, layer.n) if layer.first else (self.config.hidden, layer.n - 1)
        empty = layer.down.weight.new_zeros
        above = empty(batch, self.config.hidden, layer.n, W)
        below = layer.down(above)
        left, here = empty(batch, inputs, 1, taps), empty(batch, inputs, 1, 1)
        return Memory(*layer.shifts(e), above, below, layer.link(below), left, here)

    def _stack(self) -> list[Layer]:
        return cast("list[Layer]", list(self.layers))

    def _encode(self, x: Tensor) -> Tensor:
        return ordinal(x, self.config.levels, self.dtype)

    def _one_hot(self, cond: Tensor | None) -> Tensor | None:
        if cond is None:
            return None
        return F.one_hot(cond, self.config.classes).to(self.dtype)

    def _split(self, f: Tensor) -> Tensor:
        """Head outputs (B, C F, H, W) as logits (B, C, H, W, K)."""
        f = f.view(len(f), self.config.shape[0], -1, *f.shape[2:]).movedim(2, -1)
        return to_logits(f, self.config.levels)


def _next_pixel(x: Tensor, cache: list[Memory]) -> None:
    """Move one column on from the pixel x (B, C, 1, 1), all channels of which are now known."""
    cache[0].here = x
    for m in cache:
        m.left = torch.cat((m.left, m.here), -1)[..., 1:]


def _groups(features: int, channels: int) -> Tensor:
    """The channel that each feature belongs to: C equal groups in order."""
    return torch.arange(features) * channels // features
