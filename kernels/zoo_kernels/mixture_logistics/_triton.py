"""Discretized mixture of logistics in Triton: a lane per pixel, a program per BLOCK of them.

Components are walked over twice in the backward (posterior, then gradients); nothing but the
inputs is kept. Row sums are ordered as in the splines' kernels.
"""

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from zoo_kernels._alloc import alloc
from zoo_kernels._tuning import Settings, settings
from zoo_kernels.coupling._triton import _sigmoid, _tanh
from zoo_kernels.mixture_logistics import _view, collapsed, grad_like, reference
from zoo_kernels.mixture_logistics.reference import components
from zoo_kernels.spline._triton import _row_sum_kernel, _softplus

# Kernels see no other globals than constexprs.
MEAN = tl.constexpr(reference.MEAN)
LOG_SCALE = tl.constexpr(reference.LOG_SCALE)
COEFFICIENT = tl.constexpr(reference.COEFFICIENT)
MIN_LOG_SCALE = tl.constexpr(reference.MIN_LOG_SCALE)

REGISTERS = 128
"""Of a thread of the backward pass; without being told, ptxas 12.8 stops at 64 and spills."""


@triton.jit
def _series(d):
    """(1 - e^-d) / d for d < 1/2."""
    p = d * 1.98412698e-4 + -1.38888889e-3
    p = p * d + 8.33333333e-3
    p = p * d + -4.16666667e-2
    p = p * d + 1.66666667e-1
    p = p * d + -0.5
    return p * d + 1.0


@triton.jit
def _parameter(p_pixel, row, sp, m_o):
    return tl.load(p_pixel + row * sp, mask=m_o, other=0.0).to(tl.float32)


@triton.jit
def _row(c, kind: tl.constexpr, m, M: tl.constexpr, C: tl.constexpr):
    return (1 + c * (2 if C == 1 else 3) + kind) * M + m


@triton.jit
def _value(p_x, i_row, c, places, o, m_o, step, C: tl.constexpr):
    x = tl.load(p_x + (i_row * C + c) * places + o, mask=m_o, other=0.0)
    return x.to(tl.float32) * step - 1.0


@triton.jit
def _mass(
    p_x, p_pixel, i_row, c: tl.constexpr, m, sp, places, o, m_o, step,
    M: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    """v, raw log scale, e^-l, delta, mid."""
    v = _value(p_x, i_row, c, places, o, m_o, step, C)
    mean = _parameter(p_pixel, _row(c, MEAN, m, M, C), sp, m_o)
    for j in tl.static_range(c):
        h = _tanh(_parameter(p_pixel, _row(c * (c - 1) // 2 + j, COEFFICIENT, m, M, C), sp, m_o))
        mean += h * _value(p_x, i_row, j, places, o, m_o, step, C)
    raw = _parameter(p_pixel, _row(c, LOG_SCALE, m, M, C), sp, m_o)
    per = tl.exp(-tl.where(raw < MIN_LOG_SCALE, MIN_LOG_SCALE, raw))
    return v, raw, per, per * step, per * (v - mean)


@triton.jit
def _joint(
    p_x, p_pixel, i_row, m, sp, places, o, m_o, step, log_step, M: tl.constexpr, C: tl.constexpr
):
    """Component m: its logit plus the log masses of all channels."""
    total = _parameter(p_pixel, m, sp, m_o)
    for c in tl.static_range(C):
        v, raw, per, delta, mid = _mass(p_x, p_pixel, i_row, c, m, sp, places, o, m_o, step, M, C)
        below = -_softplus(-(mid + 0.5 * delta))
        above = -_softplus(mid - 0.5 * delta)
        small = delta < 0.5
        inside = tl.where(small, _series(tl.where(small, delta, 0.0)), 1.0 - tl.exp(-delta))
        log_delta = log_step - tl.where(raw < MIN_LOG_SCALE, MIN_LOG_SCALE, raw)
        between = below + above + tl.log(inside) + tl.where(small, log_delta, 0.0)
        inner = tl.where(v > 1.0 - 0.5 * step, above, between)
        total += tl.where(v < 0.5 * step - 1.0, below, inner)
    return total


@triton.jit
def _accumulate(top, total, x):
    """Running maximum and sum of exponentials."""
    new = tl.where(x > top, x, top)
    return new, total * tl.exp(top - new) + tl.exp(x - new)


@triton.jit
def _normalisers(
    p_x, p_pixel, i_row, sp, places, o, m_o, step, log_step, M: tl.constexpr, C: tl.constexpr
):
    """Log-sum-exp of the joint and of the logits."""
    top = _joint(p_x, p_pixel, i_row, 0, sp, places, o, m_o, step, log_step, M, C)
    top_logit = _parameter(p_pixel, 0, sp, m_o)
    total, total_logit = top * 0.0 + 1.0, top_logit * 0.0 + 1.0
    for m in range(1, M):
        x = _joint(p_x, p_pixel, i_row, m, sp, places, o, m_o, step, log_step, M, C)
        top, total = _accumulate(top, total, x)
        top_logit, total_logit = _accumulate(
            top_logit, total_logit, _parameter(p_pixel, m, sp, m_o)
        )
    return top + tl.log(total), top_logit + tl.log(total_logit)


@triton.jit
def _log_prob_kernel(
    p_out, p_x, p_params, places, blocks, sb, sp, ss, step, log_step,
    M: tl.constexpr, C: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    step, log_step = tl.full((), step, tl.float32), tl.full((), log_step, tl.float32)
    i_program = tl.program_id(0).to(tl.int64)
    i_row = i_program // blocks
    o = (i_program % blocks) * BLOCK + tl.arange(0, BLOCK)
    m_o = o < places
    p_pixel = p_params + i_row * sb + o * ss
    joint, prior = _normalisers(p_x, p_pixel, i_row, sp, places, o, m_o, step, log_step, M, C)
    tl.store(p_out + i_program, tl.sum(tl.where(m_o, joint - prior, 0.0), axis=0))


@triton.jit
def _backward_kernel(
    p_gparams, p_x, p_params, p_grad, places, blocks, sb, sp, ss, step, log_step, tb, tp, ts,
    M: tl.constexpr, C: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    step, log_step = tl.full((), step, tl.float32), tl.full((), log_step, tl.float32)
    i_program = tl.program_id(0).to(tl.int64)
    i_row = i_program // blocks
    o = (i_program % blocks) * BLOCK + tl.arange(0, BLOCK)
    m_o = o < places
    p_pixel = p_params + i_row * sb + o * ss
    p_to = p_gparams + i_row * tb + o * ts
    kind = p_gparams.dtype.element_ty
    g = tl.load(p_grad + i_row).to(tl.float32)
    all_, prior = _normalisers(p_x, p_pixel, i_row, sp, places, o, m_o, step, log_step, M, C)
    for m in range(M):
        joint = _joint(p_x, p_pixel, i_row, m, sp, places, o, m_o, step, log_step, M, C)
        r = g * tl.exp(joint - all_)
        g_logit = r - g * tl.exp(_parameter(p_pixel, m, sp, m_o) - prior)
        tl.store(p_to + m * tp, g_logit.to(kind), mask=m_o)
        for c in tl.static_range(C):
            v, raw, per, delta, mid = _mass(
                p_x, p_pixel, i_row, c, m, sp, places, o, m_o, step, M, C
            )
            lowest, highest = v < 0.5 * step - 1.0, v > 1.0 - 0.5 * step
            a = tl.where(highest, 0.0, _sigmoid(-(mid + 0.5 * delta)))
            b = tl.where(lowest, 0.0, _sigmoid(mid - 0.5 * delta))
            small = delta < 0.5
            e = tl.exp(-delta)
            rest = (1.0 - e) / tl.where(small, 1.0, delta)
            rest = tl.where(small, _series(tl.where(small, delta, 0.0)), rest)
            e = tl.where(lowest | highest, 0.0, e / rest)
            g_mean = -r * per * (a - b)
            g_scale = -r * (mid * (a - b) + 0.5 * delta * (a + b) + e)
            g_scale = tl.where(raw < MIN_LOG_SCALE, 0.0, g_scale)
            tl.store(p_to + _row(c, MEAN, m, M, C) * tp, g_mean.to(kind), mask=m_o)
            tl.store(p_to + _row(c, LOG_SCALE, m, M, C) * tp, g_scale.to(kind), mask=m_o)
            for j in tl.static_range(c):
                row = _row(c * (c - 1) // 2 + j, COEFFICIENT, m, M, C)
                h = _tanh(_parameter(p_pixel, row, sp, m_o))
                g_mix = g_mean * _value(p_x, i_row, j, places, o, m_o, step, C) * (1.0 - h * h)
                tl.store(p_to + row * tp, g_mix.to(kind), mask=m_o)


def _geometry(kernel: str, places: int) -> tuple[Settings, int]:
    """How it is launched, and how many programs do a row: by the shape alone."""
    launch = settings(f"mixture.{kernel}", BLOCK=triton.next_power_of_2(places))
    return launch, -(-places // launch["BLOCK"])


def _steps(levels: int) -> tuple[float, float]:
    return 2 / (levels - 1), math.log(2 / (levels - 1))


def log_prob(x: Tensor, params: Tensor, levels: int) -> Tensor:
    out = alloc(x.shape[:1], like=params, dtype=torch.float32)
    if not x.numel():
        return out.zero_()
    p, channels = collapsed(params), x.shape[1]
    launch, blocks = _geometry("log_prob", p.shape[2])
    parts = out if blocks == 1 else alloc((len(x), blocks), like=out)
    _log_prob_kernel[(len(x) * blocks,)](
        parts, x.to(torch.float32).contiguous(), p, p.shape[2], blocks, *p.stride(),
        *_steps(levels), M=components(params, channels), C=channels, **launch,
        enable_fp_fusion=True,
    )  # fmt: skip
    if blocks > 1:
        _row_sum_kernel[(len(x),)](out, parts, blocks, num_warps=1, enable_fp_fusion=True)
    return out


def backward(x: Tensor, params: Tensor, grad: Tensor, levels: int) -> Tensor:
    out = grad_like(params)
    if x.numel():
        p, g, channels = collapsed(params), _view(out), x.shape[1]
        launch, blocks = _geometry("backward", p.shape[2])
        _backward_kernel[(len(x) * blocks,)](
            g, x.to(torch.float32).contiguous(), p, grad.contiguous(), p.shape[2], blocks,
            *p.stride(), *_steps(levels), *g.stride(), M=components(params, channels), C=channels,
            **launch, maxnreg=REGISTERS, enable_fp_fusion=True,
        )  # fmt: skip
    return out
