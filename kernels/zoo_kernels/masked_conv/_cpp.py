"""CPU: oneDNN convolutions over the live taps only, and the gate fused in C++.

The live taps are the first T in raster order. Cropping the kernel to its upper k // 2 + 1 rows
keeps all of them in one convolution (6/9, 15/25, 28/49 of the work) and is fastest up to 5 x 5;
from 7 x 7 on it pays to split off the centre row (24/49 for type A).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo_kernels import _extension
from zoo_kernels._alloc import alloc
from zoo_kernels.masked_conv.reference import mask, nhwc

SPLIT_FROM = 7
_backward = torch.ops.aten.convolution_backward.default


def live(w: Tensor, kind: str, groups: int, gated: bool) -> Tensor:
    """A copy of the kernel's upper k // 2 + 1 rows, masked; channels-last."""
    p = w.shape[-1] // 2
    upper = w[:, :, : p + 1].clone(memory_format=torch.channels_last)
    return _zero_dead(upper, w, kind, groups, gated)


def _zero_dead(upper: Tensor, w: Tensor, kind: str, groups: int, gated: bool) -> Tensor:
    """Zero in place what the mask kills in the upper rows: the centre row from its middle on."""
    p = w.shape[-1] // 2
    upper[:, :, p, p + 1 :] = 0
    if groups == 1 and kind == "A":
        upper[:, :, p, p] = 0
    elif groups > 1:
        alive = mask(w[:, :, p : p + 1, p : p + 1], kind, groups, gated)[..., 0, 0]
        upper[:, :, p, p].masked_fill_(~alive, 0)
    return upper


def _parts(x: Tensor, w: Tensor, kind: str, groups: int) -> list[tuple[Tensor, Tensor, int, int]]:
    """(padded input, kernel, first row, columns) of each convolution; `w` is cropped."""
    p, k = w.shape[2] - 1, w.shape[3]
    if k < SPLIT_FROM or x.shape[2] < 2:
        return [(F.pad(x, (p, p, p, 0)), w, 0, k)]
    n = p + (kind == "B" or groups > 1)
    above = F.pad(x[:, :, :-1], (p, p, p, 0))
    left = F.pad(x, (p, 0, 0, 0))[..., : x.shape[3] + n - 1]
    return [(above, nhwc(w[:, :, :p]), 0, k), (left, nhwc(w[:, :, p:, :n]), p, n)]


def masked_conv(
    x: Tensor, w: Tensor, bias: Tensor | None, cond: Tensor | None, residual: Tensor | None,
    kind: str, groups: int, gated: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    b, o, h, width = x.shape[0], w.shape[0], x.shape[2], x.shape[3]
    if not (b and h and width):
        y = nhwc(alloc((b, o // 2 if gated else o, h, width), like=x))
        return y, nhwc(alloc((b, o, h, width), like=x)) if gated else x.new_empty(0)
    parts = _parts(nhwc(x), live(w, kind, groups, gated), kind, groups)
    pre = F.conv2d(*parts[0][:2], bias)
    for padded, kernel, *_ in parts[1:]:
        pre += F.conv2d(padded, kernel)
    pre = nhwc(pre)
    if not gated:
        pre = pre if cond is None else pre.add_(cond)
        return pre if residual is None else pre.add_(residual), x.new_empty(0)
    y = nhwc(alloc((b, o // 2, h, width), like=x))
    _gate(y, pre, cond, residual)
    return y, pre


def _gate(y: Tensor, pre: Tensor, cond: Tensor | None, residual: Tensor | None) -> None:
    """pre += cond; y = gate(pre) + residual, one pass over memory."""
    nothing = pre.new_empty(0)
    if cond is not None and cond.shape[2:] != (1, 1):
        cond = nhwc(cond.expand_as(pre))
    cond = nothing if cond is None else cond.expand(len(pre), -1, -1, -1)
    add = nothing if residual is None else nhwc(residual)
    _extension.cpp("gate_forward")(_flat(y), _flat(pre), _flat(cond), _flat(add))


def _flat(t: Tensor) -> Tensor:
    """(B, H, W, C) contiguous view of a channels-last tensor."""
    return t.permute(0, 2, 3, 1).contiguous() if t.dim() == 4 else t


def backward(
    grad: Tensor, x: Tensor, w: Tensor, pre: Tensor, kind: str, groups: int, gated: bool,
    need_x: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    grad_pre = alloc((len(x), *x.shape[2:], len(w)), like=x).permute(0, 3, 1, 2)
    if gated:
        out, flat_pre, flat_grad = (_flat(t) for t in (grad_pre, nhwc(pre), nhwc(grad)))
        _extension.cpp("gate_backward")(out, flat_pre, flat_grad)
    else:
        grad_pre.copy_(grad)
    grad_x, grad_w = conv_backward(grad_pre, nhwc(x), w, kind, groups, gated, need_x)
    return grad_x, grad_w, grad_pre


def conv_backward(
    grad: Tensor, x: Tensor, w: Tensor, kind: str, groups: int, gated: bool, need_x: bool
) -> tuple[Tensor, Tensor]:
    """Gradients of input and weight through the live taps alone."""
    grad_w = torch.zeros_like(w, memory_format=torch.contiguous_format)
    grad_x = torch.zeros_like(x) if need_x else x.new_empty(0)
    if not x.numel():
        return grad_x, grad_w
    width, p = x.shape[3], w.shape[-1] // 2
    for padded, kernel, row, columns in _parts(x, live(w, kind, groups, gated), kind, groups):
        gx, gw, _ = _backward(grad, padded, kernel, None, [1, 1], [0, 0], [1, 1], False, [0, 0], 1,
                              [need_x, True, False])  # fmt: skip
        grad_w[:, :, row : row + kernel.shape[2], :columns] = gw
        if need_x:
            gx = gx[..., p : p + width] if row == 0 else gx[..., p:]
            gx = gx[:, :, p:] if row == 0 else gx
            grad_x[:, :, : gx.shape[2], : gx.shape[3]] += gx
    _zero_dead(grad_w[:, :, : p + 1], w, kind, groups, gated)
    return grad_x, grad_w
