"""Masked convolution with its epilogue, in plain torch.

van den Oord et al., Pixel recurrent neural networks (ICML 2016): pixel (r, c) sees the rows above
and the pixels to its left; at its own position, type A sees channel groups before its own, type B
also its own. With G groups the channels are split into G equal contiguous parts.

    pre = conv(x, where(mask, w, 0)) + bias + cond
    y   = tanh(a) sigmoid(b) + residual        [a | b] = pre along the channels, if gated
    y   = pre + residual                       otherwise

Shapes: x (B, C_in, H, W), w (O, C_in, k, k), bias (O,), cond (B, O, H or 1, W or 1); y, residual
(B, C, H, W) with O = 2C if gated, else C. Results are channels-last in memory.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.grad import conv2d_input, conv2d_weight


def mask(w: Tensor, kind: str, groups: int, gated: bool) -> Tensor:
    """(O, C_in, k, k) bool: which weights are alive."""
    o, i, k, _ = w.shape
    raster = torch.arange(k * k, device=w.device)
    before = (raster < k * k // 2).expand(o, i, -1)
    parts = 2 * groups if gated else groups
    group_out = torch.arange(o, device=w.device) // (o // parts) % groups
    group_in = torch.arange(i, device=w.device) // (i // groups)
    centre = group_in < group_out[:, None] if kind == "A" else group_in <= group_out[:, None]
    return (before | (centre[..., None] & (raster == k * k // 2))).view(o, i, k, k)


def nhwc(t: Tensor) -> Tensor:
    return t.contiguous(memory_format=torch.channels_last)


class ConvArguments(NamedTuple):
    """The arguments of `zoo::masked_conv` in their order."""

    x: Tensor
    w: Tensor
    bias: Tensor | None
    cond: Tensor | None
    residual: Tensor | None
    kind: str
    groups: int
    gated: bool


class ConvBackwardArguments(NamedTuple):
    """The arguments of `zoo::masked_conv_backward` in their order; `grad` is y's."""

    grad: Tensor
    x: Tensor
    w: Tensor
    pre: Tensor
    kind: str
    groups: int
    gated: bool
    need_x: bool


def masked_conv(*args: Any) -> tuple[Tensor, Tensor]:
    """y and, if gated, the pre-activation that the backward pass needs (else an empty tensor)."""
    c = ConvArguments(*args)
    alive = torch.where(mask(c.w, c.kind, c.groups, c.gated), c.w, 0)
    pre = F.conv2d(c.x, alive, c.bias, padding=c.w.shape[-1] // 2)
    pre = pre if c.cond is None else pre + c.cond
    y = pre
    if c.gated:
        a, b = pre.chunk(2, dim=1)
        y = torch.tanh(a) * torch.sigmoid(b)
    y = y if c.residual is None else y + c.residual
    return nhwc(y), nhwc(pre.detach()) if c.gated else c.x.new_empty(0)


def gate_backward(grad: Tensor, pre: Tensor) -> Tensor:
    """d loss / d pre of y = tanh(a) sigmoid(b): [g (1 - t^2) s | g t s (1 - s)]."""
    a, b = pre.chunk(2, dim=1)
    t, s = torch.tanh(a), torch.sigmoid(b)
    return torch.cat([grad * (1 - t * t) * s, grad * t * s * (1 - s)], 1)


def backward(*args: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x (empty unless need_x), w and pre from that of y."""
    a = ConvBackwardArguments(*args)
    grad_pre = gate_backward(a.grad, a.pre) if a.gated else a.grad * 1
    alive, p = mask(a.w, a.kind, a.groups, a.gated), a.w.shape[-1] // 2
    grad_w = torch.where(alive, conv2d_weight(a.x, a.w.shape, grad_pre, padding=p), 0)
    grad_x = a.x.new_empty(0)
    if a.need_x:
        w = torch.where(alive, a.w, 0)
        grad_x = nhwc(conv2d_input(a.x.shape, w, grad_pre, padding=p))
    return grad_x, grad_w.contiguous(), nhwc(grad_pre)
