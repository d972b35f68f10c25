"""Gated PixelCNN: two stacks of gated masked convolutions (van den Oord et al., 2016).

https://arxiv.org/abs/1606.05328. The vertical stack v sees all rows above, the horizontal stack h
also the pixels to the left. With gate(y_1, y_2) = tanh(y_1) sigmoid(y_2) (eq. 2) a layer is

    n = v_col(v_row(v))                        k columns of the k//2 + 1 rows strictly above
    v' = gate(n + v_here(v) + V_v e_c)         v_here adds row r, which only later rows see
    g = gate(link(n) + h_row(h) + V_h e_c)     columns c - k//2 .. c
    h' = h + residual(g),  s' = s + skip(g)                                    (Fig. 2, eq. 4)

and the head is relu, 1 x 1, relu, 1 x 1 on s. The first layer has mask A: its h_row ends one
column before the pixel, and it has no residual. The others have mask B and k = 3. The last one has
neither v' nor h'. A class c enters each gate through its one-hot e_c.

The channels of a pixel are drawn in turn: horizontal features are split into C groups, and group
c sees the channels before c of its own pixel, through mask A on the first layer's h_here, and
mask B on the last tap of h_row, on residual and skip and on the head.

Shapes: B batch, C channels, I inputs (the channels, and constants), H rows, W columns, U units,
K levels.
"""

from dataclasses import dataclass
from typing import Annotated, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo_autoregressive import fused_sampler
from zoo_autoregressive.heads import (
    categorical_log_prob,
    features_per_value,
    split_channels,
)
from zoo_autoregressive.image_model import (
    COORDINATE_CHANNELS,
    ImageConfig,
    coordinate_channels,
    network_input,
    raster_order,
)
from zoo_autoregressive.layers import ChannelMaskedConv, channel_groups, class_weights, gate
from zoo_core.plugin import (
    Condition,
    Event,
    GenerativeModel,
    Inpainting,
    Range,
    condition_features,
    dropout,
)

__all__ = ["GatedPixelCNN", "GatedPixelCNNConfig"]


@dataclass(frozen=True)
class GatedPixelCNNConfig(ImageConfig):
    """Event, width and depth, and the first layer's k. `classes` makes it class-conditional.

    `gain` multiplies the initial weights of the vertical stack. Gates shrink their input, so with
    PyTorch's initialization (gain 1) the signal in v vanishes after a few layers. With
    `coordinates` the first layer also sees the row and the column of a pixel; without, only the
    zero padding tells positions apart.
    """

    hidden: Annotated[int, Range(1, 65536)] = 128
    layers: Annotated[int, Range(2, 256)] = 10
    kernel_size: Literal[3, 5, 7, 9, 11] = 7
    head: Annotated[int, Range(1, 65536)] = 32
    dropout: Annotated[float, Range(0.0, 0.99)] = 0.0
    gain: Annotated[float, Range(0.0, 100.0, open=True)] = 1.0
    coordinates: bool = False


class GatedLayer(nn.Module):
    """One gated layer of both stacks; the `first` has mask A, the `last` only a skip output."""

    def __init__(self, c: GatedPixelCNNConfig, *, first: bool = False, last: bool = False) -> None:
        super().__init__()
        C, U = c.shape[0], c.hidden
        inputs, k = (_inputs(c), c.kernel_size) if first else (U, 3)
        self.n, self.first, self.last, self.dropout = k // 2 + 1, first, last, c.dropout
        self.v_row = nn.Conv2d(inputs, U, (1, k), padding=(0, k // 2))
        self.v_col = nn.Conv2d(U, 2 * U, (self.n, 1))
        self.v_here = None if last else nn.Conv2d(inputs, 2 * U, 1)
        self.link = nn.Conv2d(2 * U, 2 * U, 1)
        g_in, g = torch.arange(C), channel_groups(U, C)
        earlier = nn.Conv2d(inputs, 2 * U, (1, self.n)) if first else None
        self.h_row = earlier or ChannelMaskedConv(g, g.repeat(2), self.n)
        self.h_here = (
            ChannelMaskedConv(g_in, g.repeat(2), strict=True) if first and C > 1 else None
        )
        self.out = ChannelMaskedConv(g, g if last else g.repeat(2))  # [residual | skip], or skip
        self.V = class_weights(c.classes, 2 * U if last else 4 * U)
        for conv in filter(None, (self.v_row, self.v_col, self.v_here)):
            conv.weight.data.mul_(c.gain)

    def forward(self, v: Tensor, h: Tensor, e: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """v', h' and skip(g) of v and h (B, I or U, H, W) and the classes e (B, F)."""
        V_v, V_h = self.shifts(e)
        n = self.v_col(F.pad(self.v_row(v), (0, 0, self.n, 0))[:, :, :-1])
        h, skip = self.horizontal(self.link(n), self.window(h), h, V_h)
        return self.vertical(n, v, V_v), h, skip

    def vertical(self, n: Tensor, v: Tensor, V_v: Tensor) -> Tensor:
        """v' at the rows of v; the last layer has none and returns v."""
        return v if self.v_here is None else self._drop(gate(n + self.v_here(v) + V_v))

    def window(self, h: Tensor) -> Tensor:
        """Full rows h, padded for h_row."""
        return F.pad(h, (self.n, 0))[..., :-1] if self.first else F.pad(h, (self.n - 1, 0))

    def horizontal(
        self, link: Tensor, window: Tensor, h: Tensor, V_h: Tensor
    ) -> tuple[Tensor, Tensor]:
        """h' and skip(g) at the pixels of h; `window` also holds the pixels to their left."""
        y = link + self.h_row(window) + V_h
        if self.h_here is not None:
            y = y + self.h_here(h[:, : self.h_here.in_channels])
        out = self.out(self._drop(gate(y)))
        if self.last:
            return h, out
        residual, skip = out.chunk(2, 1)
        return (residual if self.first else h + residual), skip

    def shifts(self, e: Tensor | None) -> tuple[Tensor, Tensor]:
        """V_v e_c and V_h e_c, (B, 2U, 1, 1) each, or a zero without classes."""
        if self.V is None or e is None:
            zero = self.link.weight.new_zeros(1)
            return zero, zero
        shift = self.V(e)[:, :, None, None]
        V_v, V_h = (shift, shift) if self.last else shift.chunk(2, 1)
        return V_v, V_h

    def _drop(self, y: Tensor) -> Tensor:
        return dropout(y, self.dropout, self.training)


@dataclass
class LayerCache:
    """The cache of one layer for B partly drawn images, at row r and column c."""

    V_v: Tensor
    V_h: Tensor
    above: Tensor  # (B, U, n, W) v_row of the n rows above r
    below: Tensor  # (B, 2U, 1, W) n of row r
    link: Tensor  # (B, 2U, 1, W) link(n) of row r
    left: Tensor  # (B, I or U, 1, n or n - 1) h to the left of c
    here: Tensor  # (B, I or U, 1, 1) h at c


def _inputs(c: GatedPixelCNNConfig) -> int:
    return c.shape[0] + COORDINATE_CHANNELS * c.coordinates


class GatedPixelCNN(GenerativeModel):
    """The stack of layers: `logits` runs it on images, `decode_step` pixel by pixel."""

    coordinates: Tensor

    def __init__(self, config: GatedPixelCNNConfig | None = None) -> None:
        c = config or GatedPixelCNNConfig()
        condition = Condition.from_classes(c.classes)
        super().__init__(c, Event(c.shape, levels=c.levels), condition)
        E, H, W = COORDINATE_CHANNELS * c.coordinates, *c.shape[1:]
        self.register_buffer("coordinates", coordinate_channels(H, W)[:E], persistent=False)
        C, last = c.shape[0], c.layers - 1
        self.layers = nn.ModuleList(
            GatedLayer(c, first=l == 0, last=l == last) for l in range(c.layers)
        )
        g = channel_groups(c.head, C)
        per_value = torch.arange(C).repeat_interleave(features_per_value(c.levels))
        self.head = nn.Sequential(
            nn.ReLU(),
            ChannelMaskedConv(channel_groups(c.hidden, C), g),
            nn.ReLU(),
            ChannelMaskedConv(g, per_value),
        )

    def logits(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        """All conditionals in one pass, (B, C, H, W) -> (B, C, H, W, K)."""
        e = self.one_hot(cond)
        v = h = self._input(x)
        s = v.new_zeros(1)
        for layer in self.stack():
            v, h, skip = layer(v, h, e)
            s = s + skip
        return self._split(self.head(s))

    def log_prob(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        """log p(x | cond) in nats, (B, C, H, W) -> (B,)."""
        return categorical_log_prob(self.logits(x, cond), x)

    def order(self) -> Tensor:
        """Pixels in raster order, the channels of a pixel in turn, int64 (D,)."""
        return raster_order(*self.config.shape)

    def init_cache(self, batch: int, cond: Tensor | None = None) -> list[LayerCache]:
        """The cache of each layer before the first value of each image is drawn."""
        e = self.one_hot(cond)
        return [self._empty_cache(layer, batch, e) for layer in self.stack()]

    def decode_step(
        self, x: Tensor, i: int, cache: list[LayerCache]
    ) -> tuple[Tensor, list[LayerCache]]:
        """Logits (B, K) of value `order()[i]`, given the earlier ones in x (B, C, H, W)."""
        pixel, channel = divmod(i, self.config.shape[0])
        r, c = divmod(pixel, self.config.shape[2])
        if channel == 0 and c > 0:
            self._next_column(self._input(x, slice(r, r + 1), slice(c - 1, c)), cache)
        elif channel == 0 and r > 0:
            self._next_row(self._input(x, slice(r - 1, r)), cache)
        s = self._pixel(self._input(x, slice(r, r + 1), slice(c, c + 1)), c, cache)
        return self._split(self.head(s))[:, channel, 0, 0], cache

    @property
    def supports_fused_sampling(self) -> bool:
        """Whether the kernel supports this model: one channel, in float32 or float64."""
        return self.config.shape[0] == 1 and self.dtype in (torch.float32, torch.float64)

    def sample_fused(
        self, u: Tensor, cond: Tensor | None, *, fixed: Inpainting | None, temperature: float
    ) -> Tensor:
        """The draws of `Sequential` from uniforms u (B, D), in one call of a kernel."""
        return fused_sampler.sample(self, u, cond, fixed, temperature)

    def _pixel(self, h: Tensor, c: int, cache: list[LayerCache]) -> Tensor:
        """s (B, U, 1, 1) at column c; h (B, I, 1, 1) holds the channels drawn so far."""
        s = h.new_zeros(1)
        for layer, m in zip(self.stack(), cache, strict=True):
            m.here = h
            window = m.left if layer.first else torch.cat((m.left, h), -1)
            h, skip = layer.horizontal(m.link[..., c : c + 1], window, h, m.V_h)
            s = s + skip
        return s

    def _next_column(self, x: Tensor, cache: list[LayerCache]) -> None:
        """Move past the pixel x (B, I, 1, 1), whose channels are all drawn."""
        cache[0].here = x
        for m in cache:
            m.left = torch.cat((m.left, m.here), -1)[..., 1:]

    def _next_row(self, v: Tensor, cache: list[LayerCache]) -> None:
        """Move past the row v (B, I, 1, W), whose pixels are all drawn."""
        for layer, m in zip(self.stack(), cache, strict=True):
            m.above = torch.cat((m.above[:, :, 1:], layer.v_row(v)), 2)
            v = layer.vertical(m.below, v, m.V_v)
            m.below = layer.v_col(m.above)
            m.link = layer.link(m.below)
            m.left = torch.zeros_like(m.left)

    def _empty_cache(self, layer: GatedLayer, batch: int, e: Tensor | None) -> LayerCache:
        W = self.config.shape[2]
        inputs = _inputs(self.config) if layer.first else self.config.hidden
        taps = layer.n if layer.first else layer.n - 1
        empty = layer.link.weight.new_zeros
        above = empty(batch, self.config.hidden, layer.n, W)
        below = layer.v_col(above)
        left, here = empty(batch, inputs, 1, taps), empty(batch, inputs, 1, 1)
        return LayerCache(*layer.shifts(e), above, below, layer.link(below), left, here)

    def stack(self) -> list[GatedLayer]:
        """The layers, typed."""
        return cast("list[GatedLayer]", list(self.layers))

    def _input(self, x: Tensor, rows: slice = slice(None), columns: slice = slice(None)) -> Tensor:
        """Inputs (B, I, ., .) at rows and columns of images x (B, C, H, W)."""
        coordinates = self.coordinates[:, rows, columns]
        return network_input(x[:, :, rows, columns], self.config.levels, coordinates)

    def one_hot(self, cond: Tensor | None) -> Tensor | None:
        """e_c of each class, (B, F), or None without classes."""
        return condition_features(self.condition, cond, self.dtype)

    def _split(self, f: Tensor) -> Tensor:
        """Head outputs (B, C F, H, W) as logits (B, C, H, W, K)."""
        return split_channels(f, self.config.shape[0], self.config.levels)
