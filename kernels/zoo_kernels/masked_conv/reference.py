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


def masked_conv(
    x: Tensor,
    w: Tensor,
    bias: Tensor | None,
    cond: Tensor | None,
    residual: Tensor | None,
    kind: str,
    groups: int,
    gated: bool,
) -> tuple[Tensor, Tensor]:
    """y and, if gated, the pre-activation that the backward pass needs (else an empty tensor)."""
    alive = torch.where(mask(w, kind, groups, gated), w, 0)
    pre = F.conv2d(x, alive, bias, padding=w.shape[-1] // 2)
    pre = pre if cond is None else pre + cond
    y = pre
    if gated:
        a, b = pre.chunk(2, dim=1)
        y = torch.tanh(a) * torch.sigmoid(b)
    y = y if residual is None else y + residual
    return nhwc(y), nhwc(pre.detach()) if gated else x.new_empty(0)


def gate_backward(grad: Tensor, pre: Tensor) -> Tensor:
    """d loss / d pre of y = tanh(a) sigmoid(b): [g (1 - t^2) s | g t s (1 - s)]."""
    a, b = pre.chunk(2, dim=1)
    t, s = torch.tanh(a), torch.sigmoid(b)
    return torch.cat([grad * (1 - t * t) * s, grad * t * s * (1 - s)], 1)


def backward(
    grad: Tensor,
    x: Tensor,
    w: Tensor,
    pre: Tensor,
    kind: str,
    groups: int,
    gated: bool,
    need_x: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x (empty unless need_x), w and pre from that of y."""
    grad_pre = gate_backward(grad, pre) if gated else grad * 1
    alive, p = mask(w, kind, groups, gated), w.shape[-1] // 2
    grad_w = torch.where(alive, conv2d_weight(x, w.shape, grad_pre, padding=p), 0)
    grad_x = x.new_empty(0)
    if need_x:
        grad_x = nhwc(conv2d_input(x.shape, torch.where(alive, w, 0), grad_pre, padding=p))
    return grad_x, grad_w.contiguous(), nhwc(grad_pre)
