"""Cached sampling from a gated PixelCNN in plain torch: each activation is computed once.

van den Oord et al., Conditional image generation with PixelCNN decoders (NeurIPS 2016). Layer l
turns a vertical map v and a horizontal map h (first layer: both are the image's inputs) into

    a(r)    = row(v(r))                                   1 x k, centred: all columns
    g, link = above(a(r-R), ..., a(r-1))                  R x 1, strictly above; link folded in
    v'(r)   = gate(g(r) + here(v(r)) + cond_v)
    p(r, c) = link(r, c) + across(h(r, c-T+1..c)) + cond_h     first layer: h(r, c-T..c-1)
    y, s    = out(gate(p));   h' = y + h (first layer: y);   skips = sum of s over the layers
    logits  = W2 relu(W1 relu(skips))                     gate(a, b) = tanh(a) sigmoid(b)

Row r of `a` is finished before row r + 1 begins, so sampling needs per row one batched product for
`above`, per pixel the horizontal stack and the head, and at the end of the row the vertical stack.

Shapes: B images, C channels of the stack, C_in inputs of a layer, D hidden units of the head,
P outputs per pixel, I image channels, K levels. A weight is (inputs, outputs): y = x @ w.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo_kernels.mixture_logistics.reference import (
    COEFFICIENT,
    LOG_SCALE,
    MEAN,
    MIN_LOG_SCALE,
)

LAYER_TENSORS, HEAD_TENSORS = 8, 4


@dataclass(frozen=True)
class Layer:
    """One layer's weights, taps outermost: row (k C_in, C) and bias (C); above (R C, 4C) and bias
    (4C), columns [g | link]; here (C_in, 2C); across (T C_in, 2C); out (C, 2C) and bias (2C),
    columns [residual | skip]."""

    row: Tensor
    row_bias: Tensor
    above: Tensor
    above_bias: Tensor
    here: Tensor
    across: Tensor
    out: Tensor
    out_bias: Tensor

    @property
    def inputs(self) -> int:
        return self.here.shape[0]

    @property
    def channels(self) -> int:
        return self.row.shape[1]

    @property
    def taps(self) -> tuple[int, int, int]:
        """(k, R, T)."""
        k, t = self.row.shape[0] // self.inputs, self.across.shape[0] // self.inputs
        return k, self.above.shape[0] // self.channels, t


class SampleArguments(NamedTuple):
    """The arguments of `zoo::pixelcnn_sample` in their order."""

    uniforms: Tensor  # (B, H, W, n)
    fixed: Tensor  # (B, I, H, W) int64, -1 where a level is to be drawn
    cond: Tensor | None  # (B, L, 2, 2C)
    table: Tensor  # (K, E_t)
    extra: Tensor | None  # (E, H, W)
    weights: list[Tensor]
    head: str
    levels: int


def layers(weights: Sequence[Tensor]) -> list[Layer]:
    body, n = weights[:-HEAD_TENSORS], LAYER_TENSORS
    return [Layer(*body[i : i + n]) for i in range(0, len(body), n)]


def gate(x: Tensor) -> Tensor:
    """tanh(a) sigmoid(b) of x = [a | b] along the last dimension."""
    a, b = x.chunk(2, dim=-1)
    return torch.tanh(a) * torch.sigmoid(b)


def embed(x: Tensor, table: Tensor, extra: Tensor | None) -> Tensor:
    """Network inputs of pixels: x (..., I) int64 and extra (..., E) -> (..., C_in)."""
    values = table[x].flatten(-2)
    return values if extra is None else torch.cat([values, extra.expand(*x.shape[:-1], -1)], -1)


def draw(logits: Tensor, u: Tensor, head: str, levels: int, image_channels: int) -> Tensor:
    """One pixel (B, I) int64 from its outputs (B, P) and uniforms (B, n)."""
    if head == "binary":
        return (u < torch.sigmoid(logits)).long()
    if head == "softmax":
        return _inverse_cdf(logits, u)[:, None]
    return _mixture(logits, u, levels, image_channels)


def _inverse_cdf(logits: Tensor, u: Tensor) -> Tensor:
    """The first k with u sum(p) < p_0 + ... + p_k, p = exp(logits - max): (B,)."""
    cumulative = (logits - logits.amax(-1, keepdim=True)).exp().cumsum(-1)
    below = ~(u[:, :1] * cumulative[:, -1:] < cumulative)
    return below.sum(-1).clamp(max=logits.shape[-1] - 1)


def _mixture(logits: Tensor, u: Tensor, levels: int, image_channels: int) -> Tensor:
    """PixelCNN++'s mixture (Salimans et al., 2017): component by u_0, then each channel by its own
    u, its mean shifted by the drawn values of the channels before it."""
    m = logits.shape[-1] // (1 + 3 * image_channels if image_channels > 1 else 3)
    k = _inverse_cdf(logits[:, :m], u)
    # (B, I, [mean, log scale, coefficient], M)
    rest = logits[:, m:].reshape(len(logits), image_channels, 3 if image_channels > 1 else 2, m)
    rest = rest.gather(-1, k[:, None, None, None].expand(*rest.shape[:-1], 1))[..., 0]
    drawn: list[Tensor] = []
    for i in range(image_channels):
        mean, scale = rest[:, i, MEAN], rest[:, i, LOG_SCALE].clamp(min=MIN_LOG_SCALE).exp()
        for j in range(i):
            # coefficient 0: channel 0 on 1; 1: 0 on 2; 2: 1 on 2
            mean = mean + torch.tanh(rest[:, i * (i - 1) // 2 + j, COEFFICIENT]) * drawn[j]
        x = mean + scale * torch.logit(u[:, 1 + i])
        drawn.append(_to_real(_to_level(x, levels), levels, x))
    return torch.stack([_to_level(x, levels) for x in drawn], -1)


def _to_level(x: Tensor, levels: int) -> Tensor:
    """The nearest of K levels spread over [-1, 1]; NaN becomes 0."""
    level = torch.floor((x + 1) * (0.5 * (levels - 1)) + 0.5)
    return level.nan_to_num(0.0, levels - 1, 0.0).clamp(0, levels - 1).long()


def _to_real(level: Tensor, levels: int, like: Tensor) -> Tensor:
    return level.to(like) * (2 / (levels - 1)) - 1


def sample(*args: Any) -> Tensor:
    """(B, I, H, W) int64 of `SampleArguments`."""
    a = SampleArguments(*args)
    x = a.fixed.movedim(1, -1).clone()  # (B, H, W, I)
    batch, height, width, _ = x.shape
    if height:
        vertical = VerticalCache(a.weights, batch, width, a.cond)
    for r in range(height):
        _sample_row(a, vertical, x[:, r], r)
    return x.movedim(-1, 1).contiguous()


class VerticalCache:
    """The last R rows of every layer's `a`, (B, R, W, C) for each layer."""

    def __init__(
        self, weights: Sequence[Tensor], batch: int, width: int, cond: Tensor | None
    ) -> None:
        self.layers = layers(weights)
        self.cond = cond
        self.above = [
            layer.row.new_zeros(batch, layer.taps[1], width, layer.channels)
            for layer in self.layers
        ]

    def cond_of(self, layer: int, stack: int) -> Tensor | float:
        return 0.0 if self.cond is None else self.cond[:, layer, stack]

    def init_row(self) -> list[Tensor]:
        """[g | link] of the row to come, (B, W, 4C) for each layer."""
        return [
            a.movedim(1, 2).flatten(2) @ layer.above + layer.above_bias
            for a, layer in zip(self.above, self.layers, strict=True)
        ]

    def update(self, v: Tensor, row_cache: list[Tensor]) -> None:
        """Take in the finished row, v (B, W, C_in), through the vertical stack."""
        for i, layer in enumerate(self.layers):
            k, two_c = layer.taps[0], 2 * layer.channels
            windows = F.pad(v, (0, 0, k // 2, k // 2)).unfold(1, k, 1)  # (B, W, C_in, k)
            a = windows.movedim(-1, -2).flatten(2) @ layer.row + layer.row_bias
            self.above[i] = torch.cat([self.above[i][:, 1:], a[:, None]], 1)
            cond = self.cond_of(i, 0)
            cond = cond if isinstance(cond, float) else cond[:, None]
            v = gate(row_cache[i][..., :two_c] + v @ layer.here + cond)


def _sample_row(a: SampleArguments, vertical: VerticalCache, x: Tensor, r: int) -> None:
    """Fill row r, x (B, W, I), in place, one pixel after the other."""
    extra = None if a.extra is None else a.extra[:, r].T  # (W, E)
    row_cache = vertical.init_row()
    horizontal_cache = [
        x.new_zeros(len(x), layer.across.shape[0]).to(layer.across) for layer in vertical.layers
    ]
    for c in range(x.shape[1]):
        logits = _pixel(vertical, horizontal_cache, [g[:, c] for g in row_cache], a.weights)
        drawn = draw(logits, a.uniforms[:, r, c], a.head, a.levels, x.shape[-1])
        x[:, c] = torch.where(x[:, c] < 0, drawn, x[:, c])
        inputs = embed(x[:, c], a.table, None if extra is None else extra[c])
        horizontal_cache[0] = torch.cat([horizontal_cache[0][:, inputs.shape[1] :], inputs], 1)
    vertical.update(embed(x, a.table, extra), row_cache)


def _pixel(
    vertical: VerticalCache,
    horizontal_cache: list[Tensor],
    row_cache: list[Tensor],
    weights: list[Tensor],
) -> Tensor:
    """The horizontal stack and the head at one pixel: (B, P). `horizontal_cache` holds the T
    newest inputs of each layer, newest last; the first layer's do not include this pixel."""
    h, skips = horizontal_cache[0], torch.zeros((), dtype=horizontal_cache[0].dtype)
    for i, layer in enumerate(vertical.layers):
        if i > 0:
            horizontal_cache[i] = torch.cat([horizontal_cache[i][:, layer.inputs :], h], 1)
        link = row_cache[i][:, 2 * layer.channels :] + vertical.cond_of(i, 1)
        out = gate(link + horizontal_cache[i] @ layer.across) @ layer.out + layer.out_bias
        residual, skip = out.chunk(2, dim=-1)
        h = residual + h if i > 0 else residual
        skips = skips + skip
    w1, b1, w2, b2 = weights[-HEAD_TENSORS:]
    return torch.relu(torch.relu(skips) @ w1 + b1) @ w2 + b2
