"""Affine coupling in Triton: a program does BLOCK elements of a row and copies those that pass.

Parameters are addressed by strides. A row's log-determinant is summed within a program, and over
the row's programs in order by a second kernel: no atomics.
"""

from collections.abc import Callable

import torch
import triton
import triton.language as tl
from torch import Tensor

from zoo_kernels._alloc import alloc, alloc_like
from zoo_kernels._bijection import collapsible
from zoo_kernels._tuning import Settings, settings
from zoo_kernels.coupling import EVENT, collapsed, numbers, start
from zoo_kernels.coupling.reference import SCALES
from zoo_kernels.spline._triton import _row_sum_kernel, _softplus

# Kernels see no other globals than constexprs.
SIGMOID = tl.constexpr(SCALES.index("sigmoid"))
TANH = tl.constexpr(SCALES.index("tanh"))

REGISTERS = 80
"""Of a thread of the forward pass; without being told, ptxas 12.8 stops at 64 and spills."""


@triton.jit
def _sigmoid(u):
    e = tl.exp(-tl.abs(u))
    return tl.where(u < 0.0, e, 1.0) / (1.0 + e)


@triton.jit
def _tanh(u):
    """Without cancellation near 0."""
    q = u * u
    series = u * (1.0 + q * (-0.333333333 + q * (0.133333333 + q * -0.0539682540)))
    e = tl.exp(-2.0 * tl.abs(u))
    size = (1.0 - e) / (1.0 + e)
    return tl.where(q < 0.0625, series, tl.where(u < 0.0, -size, size))


@triton.jit
def _scale(r, c, SCALE: tl.constexpr):
    """log s and d log s / dr."""
    if SCALE == SIGMOID:
        return -_softplus(-(r + c)), _sigmoid(-(r + c))
    if SCALE == TANH:
        h = _tanh(r / c)
        return c * h, 1.0 - h * h
    return r, tl.full(r.shape, 1.0, tl.float32)


@triton.jit
def _values_kernel(
    p_out, p_ladj, p_x, p_params, d, d2, begin, count, blocks, sb, sp, s1, s2, constant,
    SCALE: tl.constexpr, SHIFT_FIRST: tl.constexpr, INVERSE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    i_program = tl.program_id(0).to(tl.int64)
    i_row = i_program // blocks
    o = (i_program % blocks) * BLOCK + tl.arange(0, BLOCK)
    m_o = o < d
    o_param = o - begin
    changes = (o_param >= 0) & (o_param < count)
    p_t = p_params + i_row * sb + (o_param // d2) * s1 + (o_param % d2) * s2
    z = tl.load(p_x + i_row * d + o, mask=m_o, other=0.0).to(tl.float32)
    t = tl.load(p_t, mask=changes, other=0.0).to(tl.float32)
    r = tl.load(p_t + sp, mask=changes, other=0.0).to(tl.float32)
    log_s, slope = _scale(r, tl.full((), constant, tl.float32), SCALE)
    if INVERSE:
        s = tl.exp(-log_s)
        out = z * s - t if SHIFT_FIRST else (z - t) * s
        log_s = -log_s
    else:
        s = tl.exp(log_s)
        out = s * (z + t) if SHIFT_FIRST else s * z + t
    out = tl.where(changes, out, z)
    tl.store(p_out + i_row * d + o, out.to(p_out.dtype.element_ty), mask=m_o)
    tl.store(p_ladj + i_program, tl.sum(tl.where(changes, log_s, 0.0), axis=0))


@triton.jit
def _backward_kernel(
    p_gx, p_gparams, p_x, p_params, p_grad, p_gladj, d, d2, begin, count, blocks,
    sb, sp, s1, s2, constant, e2, tb, tp, t1, t2,
    SCALE: tl.constexpr, SHIFT_FIRST: tl.constexpr, INVERSE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    i_program = tl.program_id(0).to(tl.int64)
    i_row = i_program // blocks
    o = (i_program % blocks) * BLOCK + tl.arange(0, BLOCK)
    m_o = o < d
    o_param = o - begin
    changes = (o_param >= 0) & (o_param < count)
    p_t = p_params + i_row * sb + (o_param // d2) * s1 + (o_param % d2) * s2
    z = tl.load(p_x + i_row * d + o, mask=m_o, other=0.0).to(tl.float32)
    g = tl.load(p_grad + i_row * d + o, mask=m_o, other=0.0).to(tl.float32)
    gl = tl.load(p_gladj + i_row).to(tl.float32)
    t = tl.load(p_t, mask=changes, other=0.0).to(tl.float32)
    r = tl.load(p_t + sp, mask=changes, other=0.0).to(tl.float32)
    log_s, slope = _scale(r, tl.full((), constant, tl.float32), SCALE)
    if INVERSE:
        gz = g * tl.exp(-log_s)
        gt = -g if SHIFT_FIRST else -gz
        g_log = -gz * (z if SHIFT_FIRST else z - t) - gl
    else:
        gz = g * tl.exp(log_s)
        gt = gz if SHIFT_FIRST else g
        g_log = gz * (z + t if SHIFT_FIRST else z) + gl
    gx = tl.where(changes, gz, g)
    tl.store(p_gx + i_row * d + o, gx.to(p_gx.dtype.element_ty), mask=m_o)
    p_to = p_gparams + i_row * tb + (o_param // e2) * t1 + (o_param % e2) * t2
    tl.store(p_to, gt.to(p_gparams.dtype.element_ty), mask=changes)
    tl.store(p_to + tp, (g_log * slope).to(p_gparams.dtype.element_ty), mask=changes)


def _launch(kernel: str, d: int) -> Settings:
    return settings(f"coupling.{kernel}", BLOCK=triton.next_power_of_2(d))


def _values(is_inverse: bool) -> Callable[..., tuple[Tensor, Tensor]]:
    def run(
        x: Tensor, params: Tensor, scale: str, order: str, constant: float, first: bool
    ) -> tuple[Tensor, Tensor]:
        out, ladj = alloc(x.shape, like=x), alloc(x.shape[:1], like=x, dtype=torch.float32)
        if not x.numel():
            return out, ladj.zero_()
        p, d = collapsed(params), x[0].numel()
        launch = _launch("values", d)
        blocks = -(-d // launch["BLOCK"])
        parts = ladj if blocks == 1 else alloc((len(x), blocks), like=ladj)
        kind, shift_first = numbers(scale, order)
        _values_kernel[(len(x) * blocks,)](
            out, parts, x.contiguous(), p, d, p.shape[3], start(x, params, first),
            p.shape[2] * p.shape[3], blocks, *p.stride(), constant, SCALE=kind,
            SHIFT_FIRST=shift_first, INVERSE=is_inverse, **launch, maxnreg=REGISTERS,
            enable_fp_fusion=True,
        )  # fmt: skip
        if blocks > 1:
            _row_sum_kernel[(len(x),)](ladj, parts, blocks, num_warps=1, enable_fp_fusion=True)
        return out, ladj

    return run


forward, inverse = _values(False), _values(True)


def backward(
    x: Tensor,
    params: Tensor,
    grad: Tensor,
    grad_ladj: Tensor,
    scale: str,
    order: str,
    constant: float,
    first: bool,
    is_inverse: bool,
) -> tuple[Tensor, Tensor]:
    params = collapsible(params, EVENT)
    grad_x, grad_params = alloc(x.shape, like=x), alloc_like(params)
    if x.numel():
        p, g, d = collapsed(params), collapsed(grad_params), x[0].numel()
        launch = _launch("backward", d)
        blocks = -(-d // launch["BLOCK"])
        kind, shift_first = numbers(scale, order)
        _backward_kernel[(len(x) * blocks,)](
            grad_x, g, x.contiguous(), p, grad.contiguous(), grad_ladj.contiguous(), d, p.shape[3],
            start(x, params, first), p.shape[2] * p.shape[3], blocks, *p.stride(), constant,
            g.shape[3], *g.stride(), SCALE=kind, SHIFT_FIRST=shift_first, INVERSE=is_inverse,
            **launch, enable_fp_fusion=True,
        )  # fmt: skip
    return grad_x, grad_params
