"""Masked convolution as an implicit matrix product over the live taps, NHWC, in Triton.

The T live taps are the first in raster order, so the loop over (tap, input block) is one range and
dead taps cost nothing. The forward kernel ends in bias, cond, gate and residual: the 2C
pre-activation goes to memory once, for the backward pass. The input's gradient is the same kernel
with mirrored taps; the weight's is a product over pixels, cut into a fixed number of parts that
are added in order, so that its bits do not depend on timing.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from zoo_kernels._alloc import alloc
from zoo_kernels._dispatch import interpreted
from zoo_kernels._tuning import settings
from zoo_kernels.masked_conv.reference import ConvArguments, ConvBackwardArguments, mask

_NARROW = {"BM": 64, "MAX_TILE": 32, "num_warps": 4, "num_stages": 2}  # float32
PARTS = 16  # of the pixels, in the weight's gradient


@triton.jit
def _tap(
    p_x,
    o_m,
    m_m,
    tap,
    o_k,
    height,
    width,
    channels,
    K: tl.constexpr,
    SIGN: tl.constexpr,
    UPCAST: tl.constexpr,
):
    """x at the tap's offset from pixels o_m: (BM, BK), zero outside the image."""
    dy = SIGN * (tap // K - K // 2)
    dx = SIGN * (tap % K - K // 2)
    row = (o_m // width) % height + dy
    col = o_m % width + dx
    inside = m_m & (row >= 0) & (row < height) & (col >= 0) & (col < width)
    o_x = (o_m + dy * width + dx).to(tl.int64)[:, None] * channels + o_k[None, :]
    x = tl.load(p_x + o_x, mask=inside[:, None] & (o_k < channels)[None, :], other=0.0)
    return x.to(tl.float32) if UPCAST else x


@triton.jit
def _weights(p_w, o_k, o_n, n_k, n_n, ld, UPCAST: tl.constexpr):
    m_w = (o_k < n_k)[:, None] & (o_n < n_n)[None, :]
    w = tl.load(p_w + o_k[:, None] * ld + o_n[None, :], mask=m_w, other=0.0)
    return w.to(tl.float32) if UPCAST else w


@triton.jit
def _conv_kernel(
    p_x, p_w, p_bias, p_cond, p_residual, p_y, p_pre,
    pixels, height, width, channels, outputs, taps,
    K: tl.constexpr, SIGN: tl.constexpr, GATED: tl.constexpr, BIAS: tl.constexpr,
    COND: tl.constexpr, RESIDUAL: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr,
    BK: tl.constexpr, PRECISION: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """y (pixels, outputs); weights (taps, channels, O) with O = 2 outputs if GATED."""
    n_blocks = tl.cdiv(outputs, BN)
    i_m = tl.program_id(0) // n_blocks
    i_n = tl.program_id(0) % n_blocks
    o_m = i_m * BM + tl.arange(0, BM)
    o_n = i_n * BN + tl.arange(0, BN)
    m_m = o_m < pixels
    m_n = o_n < outputs
    m_y = m_m[:, None] & m_n[None, :]
    ld = outputs * 2 if GATED else outputs
    a = tl.zeros([BM, BN], tl.float32)
    b = tl.zeros([BM, BN], tl.float32)
    k_blocks = tl.cdiv(channels, BK)
    for i in range(taps * k_blocks):
        tap = i // k_blocks
        o_k = (i % k_blocks) * BK + tl.arange(0, BK)
        x = _tap(p_x, o_m, m_m, tap, o_k, height, width, channels, K, SIGN, UPCAST)
        p_t = p_w + tap * channels * ld
        w = _weights(p_t, o_k, o_n, channels, outputs, ld, UPCAST)
        a = tl.dot(x, w, a, input_precision=PRECISION)
        if GATED:
            w = _weights(p_t + outputs, o_k, o_n, channels, outputs, ld, UPCAST)
            b = tl.dot(x, w, b, input_precision=PRECISION)
    if BIAS:
        a += tl.load(p_bias + o_n, mask=m_n, other=0.0).to(tl.float32)[None, :]
        if GATED:
            b += tl.load(p_bias + outputs + o_n, mask=m_n, other=0.0).to(tl.float32)[None, :]
    o_pre = o_m.to(tl.int64)[:, None] * ld + o_n[None, :]
    if COND != "none":
        o_cond = o_pre if COND == "map" else (o_m // (height * width))[:, None] * ld + o_n[None, :]
        a += tl.load(p_cond + o_cond, mask=m_y, other=0.0).to(tl.float32)
        if GATED:
            b += tl.load(p_cond + o_cond + outputs, mask=m_y, other=0.0).to(tl.float32)
    if GATED:
        tl.store(p_pre + o_pre, a, mask=m_y)
        tl.store(p_pre + o_pre + outputs, b, mask=m_y)
        a = (2.0 * tl.sigmoid(2.0 * a) - 1.0) * tl.sigmoid(b)
    o_y = o_m.to(tl.int64)[:, None] * outputs + o_n[None, :]
    if RESIDUAL:
        a += tl.load(p_residual + o_y, mask=m_y, other=0.0).to(tl.float32)
    tl.store(p_y + o_y, a, mask=m_y)


@triton.jit
def _gate_backward_kernel(p_out, p_pre, p_grad, numel, channels, BLOCK: tl.constexpr):
    """[g (1 - t^2) s | g t s (1 - s)] for flat elements of y."""
    o = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    m = o < numel
    o_a = o // channels * (2 * channels) + o % channels
    a = tl.load(p_pre + o_a, mask=m, other=0.0).to(tl.float32)
    b = tl.load(p_pre + o_a + channels, mask=m, other=0.0).to(tl.float32)
    grad = tl.load(p_grad + o, mask=m, other=0.0).to(tl.float32)
    t = 2.0 * tl.sigmoid(2.0 * a) - 1.0
    s = tl.sigmoid(b)
    tl.store(p_out + o_a, grad * (1.0 - t * t) * s, mask=m)
    tl.store(p_out + o_a + channels, grad * t * s * (1.0 - s), mask=m)


@triton.jit
def _weight_grad_kernel(
    p_x, p_grad, p_out, pixels, height, width, channels, outputs, taps, per_part,
    K: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr,
    PRECISION: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """out (part, tap, channels, outputs) = sum over the part's pixels of x(tap)^T grad."""
    n_blocks, k_blocks = tl.cdiv(outputs, BN), tl.cdiv(channels, BK)
    i = tl.program_id(0)
    o_n = i % n_blocks * BN + tl.arange(0, BN)
    o_k = i // n_blocks % k_blocks * BK + tl.arange(0, BK)
    tap = i // (n_blocks * k_blocks) % taps
    part = i // (n_blocks * k_blocks * taps)
    acc = tl.zeros([BK, BN], tl.float32)
    end = tl.minimum((part + 1) * per_part, pixels)
    for m0 in range(part * per_part, end, BM):
        o_m = m0 + tl.arange(0, BM)
        m_m = o_m < end
        x = _tap(p_x, o_m, m_m, tap, o_k, height, width, channels, K, 1, UPCAST)
        p_g = p_grad + o_m.to(tl.int64)[:, None] * outputs + o_n[None, :]
        g = tl.load(p_g, mask=m_m[:, None] & (o_n < outputs)[None, :], other=0.0)
        g = g.to(tl.float32) if UPCAST else g
        acc = tl.dot(tl.trans(x), g, acc, input_precision=PRECISION)
    p_o = p_out + ((part * taps + tap).to(tl.int64) * channels + o_k[:, None]) * outputs
    m_o = (o_k < channels)[:, None] & (o_n < outputs)[None, :]
    tl.store(p_o + o_n[None, :], acc, mask=m_o)


def _flat(t: Tensor) -> Tensor:
    """(B, H, W, C) contiguous."""
    return t.permute(0, 2, 3, 1).contiguous()


def _block(n: int, max_tile: int) -> int:
    return min(max_tile, max(16, triton.next_power_of_2(n)))


def _options(dtype: torch.dtype) -> dict[str, object]:
    """The interpreter multiplies in float32; the GPU in the inputs' type, float32 as 3 x TF32."""
    return {
        "PRECISION": "ieee" if interpreted() else "tf32x3",
        "UPCAST": interpreted(),
        "enable_fp_fusion": True,
    }


def _live(w: Tensor, kind: str, groups: int, gated: bool) -> Tensor:
    """(T, C_in, O): the masked live taps, in raster order."""
    taps = w.shape[-1] ** 2 // 2 + (kind == "B" or groups > 1)
    alive = torch.where(mask(w, kind, groups, gated), w, 0)
    return alive.flatten(2)[..., :taps].permute(2, 1, 0).contiguous()


def _convolve(
    x: Tensor,
    w: Tensor,
    k: int,
    *,
    sign: int = 1,
    gated: bool = False,
    bias: Tensor | None = None,
    cond: Tensor | None = None,
    residual: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """x (B, H, W, C), w (T, C, O) -> y and pre, both (B, H, W, .)."""
    b, height, width, channels = x.shape
    taps, _, o = w.shape
    outputs = o // 2 if gated else o
    y = alloc((b, height, width, outputs), like=x)
    pre = alloc((b, height, width, o) if gated else (0,), like=x)
    if not y.numel():
        return y, pre
    if taps == 0:
        w, taps = x.new_zeros(1, channels, o), 1
    place = "none" if cond is None else "image" if cond.shape[2:] == (1, 1) else "map"
    # float32 takes three products for one: larger tiles would spill registers
    wide = x.dtype != torch.float32 and not interpreted()
    launch = dict(settings("masked_conv.wide")) if wide else dict(_NARROW)
    bm, max_tile = launch.pop("BM"), launch.pop("MAX_TILE")
    bn, bk = _block(outputs, max_tile), _block(channels, max_tile)
    grid = (triton.cdiv(b * height * width, bm) * triton.cdiv(outputs, bn),)
    _conv_kernel[grid](
        x, w, w if bias is None else bias.contiguous(), w if cond is None else _flat(cond),
        w if residual is None else _flat(residual), y, pre,
        b * height * width, height, width, channels, outputs, taps,
        K=k, SIGN=sign, GATED=gated, BIAS=bias is not None, COND=place,
        RESIDUAL=residual is not None, BM=bm, BN=bn, BK=bk, **launch, **_options(x.dtype),
    )  # fmt: skip
    return y, pre


def masked_conv(*args: Any) -> tuple[Tensor, Tensor]:
    a = ConvArguments(*args)
    y, pre = _convolve(
        _flat(a.x),
        _live(a.w, a.kind, a.groups, a.gated),
        a.w.shape[-1],
        gated=a.gated,
        bias=a.bias,
        cond=a.cond,
        residual=a.residual,
    )
    return _image(y), _image(pre) if a.gated else pre


def _image(t: Tensor) -> Tensor:
    return t.permute(0, 3, 1, 2)


def backward(*args: Any) -> tuple[Tensor, Tensor, Tensor]:
    a = ConvBackwardArguments(*args)
    grad, o, k = _flat(a.grad), a.w.shape[0], a.w.shape[-1]
    grad_pre = alloc((*grad.shape[:3], o), like=grad)
    if not a.gated:
        grad_pre.copy_(grad)
    elif grad.numel():
        block = 4096 if interpreted() else 1024
        grid = (triton.cdiv(grad.numel(), block),)
        pre = _flat(a.pre)
        _gate_backward_kernel[grid](grad_pre, pre, grad, grad.numel(), o // 2, BLOCK=block)
    grad_x = a.x.new_empty(0)
    if a.need_x:
        live = _live(a.w, a.kind, a.groups, a.gated).transpose(1, 2).contiguous()
        grad_x = _image(_convolve(grad_pre, live, k, sign=-1)[0])
    return grad_x, _weight_grad(grad_pre, a), _image(grad_pre)


def _weight_grad(grad_pre: Tensor, a: ConvBackwardArguments) -> Tensor:
    x, w = _flat(a.x), a.w
    b, height, width, channels = x.shape
    pixels, o, k = b * height * width, w.shape[0], w.shape[-1]
    taps = k * k // 2 + (a.kind == "B" or a.groups > 1)
    out = torch.zeros_like(w, memory_format=torch.contiguous_format)
    if not (pixels and taps):
        return out
    bm, bn, bk = 64, _block(o, 64), _block(channels, 64)
    parts = 1 if interpreted() else min(PARTS, triton.cdiv(pixels, bm))
    per_part = triton.cdiv(triton.cdiv(pixels, parts), bm) * bm
    partial = alloc((parts, taps, channels, o), like=x, dtype=torch.float32)
    grid = (parts * taps * triton.cdiv(channels, bk) * triton.cdiv(o, bn),)
    _weight_grad_kernel[grid](
        x, grad_pre, partial, pixels, height, width, channels, o, taps, per_part,
        K=k, BM=bm, BN=bn, BK=bk, num_warps=4, num_stages=3, **_options(x.dtype),
    )  # fmt: skip
    out.flatten(2)[..., :taps] = partial.sum(0).permute(2, 1, 0).to(w.dtype)
    return torch.where(mask(w, a.kind, a.groups, a.gated), out, 0)
