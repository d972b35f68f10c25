"""CPU: oneDNN convolutions over the live taps only, and the gate fused in C++.

The live taps are the first T in raster order. Cropping the kernel to its upper k // 2 + 1 rows
keeps all of them in one convolution (6/9, 15/25, 28/49 of the work) and is fastest up to 5 x 5;
from 7 x 7 on it pays to split off the centre row (24/49 for type A).
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo_kernels import _extension
from zoo_kernels._alloc import alloc
from zoo_kernels.masked_conv.reference import (
    ConvArguments,
    ConvBackwardArguments,
    mask,
    nhwc,
)

SPLIT_FROM = 7


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


@dataclass(frozen=True)
class _Part:
    """One dense convolution of the live taps; its taps are those from (row, 0) on in w."""

    padded: Tensor
    kernel: Tensor
    row: int
    columns: int


def _parts(x: Tensor, w: Tensor, kind: str, groups: int) -> list[_Part]:
    """The convolutions whose sum is the masked one; `w` is cropped."""
    p, k = w.shape[2] - 1, w.shape[3]
    if k < SPLIT_FROM or x.shape[2] < 2:
        return [_Part(F.pad(x, (p, p, p, 0)), w, 0, k)]
    n = p + (kind == "B" or groups > 1)
    above = F.pad(x[:, :, :-1], (p, p, p, 0))
    left = F.pad(x, (p, 0, 0, 0))[..., : x.shape[3] + n - 1]
    return [_Part(above, nhwc(w[:, :, :p]), 0, k), _Part(left, nhwc(w[:, :, p:, :n]), p, n)]


def masked_conv(*args: Any) -> tuple[Tensor, Tensor]:
    a = ConvArguments(*args)
    x, (b, _, h, width), o = a.x, a.x.shape, a.w.shape[0]
    if not (b and h and width):
        y = nhwc(alloc((b, o // 2 if a.gated else o, h, width), like=x))
        return y, nhwc(alloc((b, o, h, width), like=x)) if a.gated else x.new_empty(0)
    kernel = live(a.w, a.kind, a.groups, a.gated)
    first, *others = _parts(nhwc(x), kernel, a.kind, a.groups)
    pre = F.conv2d(first.padded, first.kernel, a.bias)
    for part in others:
        pre += F.conv2d(part.padded, part.kernel)
    pre = nhwc(pre)
    if not a.gated:
        pre = pre if a.cond is None else pre.add_(a.cond)
        return pre if a.residual is None else pre.add_(a.residual), x.new_empty(0)
    y = nhwc(alloc((b, o // 2, h, width), like=x))
    _gate(y, pre, a.cond, a.residual)
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


def backward(*args: Any) -> tuple[Tensor, Tensor, Tensor]:
    a = ConvBackwardArguments(*args)
    grad_pre = alloc((len(a.x), *a.x.shape[2:], len(a.w)), like=a.x).permute(0, 3, 1, 2)
    if a.gated:
        out, flat_pre, flat_grad = (_flat(t) for t in (grad_pre, nhwc(a.pre), nhwc(a.grad)))
        _extension.cpp("gate_backward")(out, flat_pre, flat_grad)
    else:
        grad_pre.copy_(a.grad)
    grad_x, grad_w = _conv_backward(grad_pre, a)
    return grad_x, grad_w, grad_pre


def _conv_backward(grad_pre: Tensor, a: ConvBackwardArguments) -> tuple[Tensor, Tensor]:
    """Gradients of input and weight through the live taps alone."""
    x, w, need_x = nhwc(a.x), a.w, a.need_x
    grad_w = torch.zeros_like(w, memory_format=torch.contiguous_format)
    grad_x = torch.zeros_like(x) if need_x else x.new_empty(0)
    if not x.numel():
        return grad_x, grad_w
    width, p = x.shape[3], w.shape[-1] // 2
    for part in _parts(x, live(w, a.kind, a.groups, a.gated), a.kind, a.groups):
        gx, gw = _dense_backward(grad_pre, part, need_x)
        rows = slice(part.row, part.row + part.kernel.shape[2])
        grad_w[:, :, rows, : part.columns] = gw
        if need_x:
            gx = gx[..., p : p + width] if part.row == 0 else gx[..., p:]
            gx = gx[:, :, p:] if part.row == 0 else gx
            grad_x[:, :, : gx.shape[2], : gx.shape[3]] += gx
    _zero_dead(grad_w[:, :, : p + 1], w, a.kind, a.groups, a.gated)
    return grad_x, grad_w


def _dense_backward(grad: Tensor, part: _Part, need_x: bool) -> tuple[Tensor, Tensor]:
    """(gradient of the padded input, of the kernel) of a convolution without padding."""
    grad_padded, grad_kernel, _ = torch.ops.aten.convolution_backward.default(
        grad,
        part.padded,
        part.kernel,
        bias_sizes=None,
        stride=[1, 1],
        padding=[0, 0],
        dilation=[1, 1],
        transposed=False,
        output_padding=[0, 0],
        groups=1,
        output_mask=[need_x, True, False],
    )
    return grad_padded, grad_kernel
