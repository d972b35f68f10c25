"""The denoising step in Triton: a program does 4 BLOCK elements of a row, 4 to a Philox block.

Coefficients come from row `*p_index` of the table, read in the kernel: one launch serves every
step and can be captured. No multiplication is fused with an addition, so the noise has the bits
of zoo_kernels.rng.
"""

from typing import Any

import triton
import triton.language as tl
from torch import Tensor

from zoo_kernels._alloc import alloc
from zoo_kernels._dispatch import interpreted
from zoo_kernels._tuning import settings
from zoo_kernels.denoise import flat_rows, reference
from zoo_kernels.denoise.reference import StepArguments, ThresholdArguments
from zoo_kernels.rng._triton import _box_muller

# The columns of the table, by name: kernels see no other globals than constexprs.
COLUMNS = tl.constexpr(reference.COLUMNS)
P_X = tl.constexpr(reference.P_X)
P_M = tl.constexpr(reference.P_M)
C_X0 = tl.constexpr(reference.C_X0)
C_X = tl.constexpr(reference.C_X)
C_M = tl.constexpr(reference.C_M)
C_H = tl.constexpr(reference.C_H)
S = tl.constexpr(reference.S)
LOG_VAR_MIN = tl.constexpr(reference.LOG_VAR_MIN)
LOG_VAR_MAX = tl.constexpr(reference.LOG_VAR_MAX)
G_X0 = tl.constexpr(reference.G_X0)
G_X = tl.constexpr(reference.G_X)
G_M = tl.constexpr(reference.G_M)


@triton.jit
def _coefficient(p_table, i_step, inside, column: tl.constexpr):
    return tl.load(p_table + i_step * COLUMNS + column, mask=inside, other=float("nan"))


@triton.jit
def _normals(seed, row, stream, i_step, block, BLOCK: tl.constexpr):
    """4 BLOCK normals in their order."""
    zero = tl.zeros([BLOCK], tl.uint32)
    w0, w1, w2, w3 = tl.philox(
        seed,
        block.to(tl.uint32),
        zero + i_step.to(tl.uint32),
        zero + stream.to(tl.uint32),
        zero + row.to(tl.uint32),
    )
    z0, z1 = _box_muller(w0, w1)
    z2, z3 = _box_muller(w2, w3)
    return tl.interleave(tl.interleave(z0, z2), tl.interleave(z1, z3))


@triton.jit(do_not_specialize=["seed", "stream"])
def _step_kernel(
    p_out, p_kept, p_x, p_m, p_u, p_v, p_h, p_threshold, p_table, p_index, p_rows,
    m_row, u_row, v_row, d, pieces, n_steps, seed, stream, guidance, clip,
    GUIDED: tl.constexpr, LEARNED: tl.constexpr, BUFFERED: tl.constexpr, THRESHOLDED: tl.constexpr,
    CLIP: tl.constexpr, NOISY: tl.constexpr, REMEMBER: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    i_program = tl.program_id(0).to(tl.int64)
    i_row = i_program // pieces
    i_piece = i_program % pieces
    o = i_piece * (4 * BLOCK) + tl.arange(0, 4 * BLOCK)
    m_o = o < d
    i_step = tl.load(p_index)
    inside = (i_step >= 0) & (i_step < n_steps)
    x = tl.load(p_x + i_row * d + o, mask=m_o, other=0.0).to(tl.float32)
    m = tl.load(p_m + i_row * m_row + o, mask=m_o, other=0.0).to(tl.float32)
    if GUIDED:
        u = tl.load(p_u + i_row * u_row + o, mask=m_o, other=0.0).to(tl.float32)
        m = u + tl.full((), guidance, tl.float32) * (m - u)
    x0 = (
        _coefficient(p_table, i_step, inside, P_X) * x
        + _coefficient(p_table, i_step, inside, P_M) * m
    )
    if THRESHOLDED:
        bound = tl.load(p_threshold + i_row).to(tl.float32)
        x0 = tl.where(x0 > bound, bound, x0)
        x0 = tl.where(x0 < -bound, -bound, x0) / bound
    if CLIP:
        bound = tl.full((), clip, tl.float32)
        x0 = tl.where(x0 > bound, bound, x0)
        x0 = tl.where(x0 < -bound, -bound, x0)
    out = (
        _coefficient(p_table, i_step, inside, C_X0) * x0
        + _coefficient(p_table, i_step, inside, C_X) * x
        + _coefficient(p_table, i_step, inside, C_M) * m
    )
    if BUFFERED:
        h = tl.load(p_h + i_row * d + o, mask=m_o, other=0.0).to(tl.float32)
        out += _coefficient(p_table, i_step, inside, C_H) * h
    if NOISY:
        block = i_piece * BLOCK + tl.arange(0, BLOCK)
        z = _normals(seed, tl.load(p_rows + i_row), stream, i_step, block, BLOCK)
        std = _coefficient(p_table, i_step, inside, S)
        if LEARNED:
            v = tl.load(p_v + i_row * v_row + o, mask=m_o, other=0.0).to(tl.float32)
            log_min = _coefficient(p_table, i_step, inside, LOG_VAR_MIN)
            log_max = _coefficient(p_table, i_step, inside, LOG_VAR_MAX)
            out += std * tl.exp(((v + 1.0) * log_max + (1.0 - v) * log_min) * 0.25) * z
        else:
            out += std * z
    tl.store(p_out + i_row * d + o, out.to(p_out.dtype.element_ty), mask=m_o)
    if REMEMBER:
        kept = (
            _coefficient(p_table, i_step, inside, G_X0) * x0
            + _coefficient(p_table, i_step, inside, G_X) * x
            + _coefficient(p_table, i_step, inside, G_M) * m
        )
        tl.store(p_kept + i_row * d + o, kept.to(p_kept.dtype.element_ty), mask=m_o)


@triton.jit
def _sizes(p_x, p_m, p_u, i_row, m_row, u_row, o, d, c_x, c_m, guidance, GUIDED: tl.constexpr):
    """Bits of |x0|, ordered as the floats are; beyond the row the largest integer."""
    m_o = o < d
    x = tl.load(p_x + i_row * d + o, mask=m_o, other=0.0).to(tl.float32)
    m = tl.load(p_m + i_row * m_row + o, mask=m_o, other=0.0).to(tl.float32)
    if GUIDED:
        u = tl.load(p_u + i_row * u_row + o, mask=m_o, other=0.0).to(tl.float32)
        m = u + guidance * (m - u)
    size = (c_x * x + c_m * m).to(tl.int32, bitcast=True) & 0x7FFFFFFF
    return tl.where(m_o, size, 0x7FFFFFFF)


@triton.jit(do_not_specialize=["low"])
def _threshold_kernel(
    p_out, p_x, p_m, p_u, p_table, p_index, m_row, u_row, d, n_steps, low, fraction, guidance,
    max, GUIDED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One row: the order statistic `low` by bisection over the 31 bits, then the next one."""
    i_row = tl.program_id(0).to(tl.int64)
    i_step = tl.load(p_index)
    inside = (i_step >= 0) & (i_step < n_steps)
    c_x = _coefficient(p_table, i_step, inside, P_X)
    c_m = _coefficient(p_table, i_step, inside, P_M)
    w = tl.full((), guidance, tl.float32)
    found = tl.zeros((), tl.int32)  # the largest value with at max `low` sizes below it
    for i in range(31):
        trial = found | (1 << (30 - i))
        below = tl.zeros([BLOCK], tl.int32)
        for start in range(0, d, BLOCK):
            o = start + tl.arange(0, BLOCK)
            size = _sizes(p_x, p_m, p_u, i_row, m_row, u_row, o, d, c_x, c_m, w, GUIDED)
            below += (size < trial).to(tl.int32)
        found = tl.where(tl.sum(below, axis=0) <= low, trial, found)
    upto = tl.zeros([BLOCK], tl.int32)
    above = tl.full([BLOCK], 0x7FFFFFFF, tl.int32)
    for start in range(0, d, BLOCK):
        o = start + tl.arange(0, BLOCK)
        size = _sizes(p_x, p_m, p_u, i_row, m_row, u_row, o, d, c_x, c_m, w, GUIDED)
        upto += (size <= found).to(tl.int32)
        above = tl.minimum(above, tl.where(size > found, size, 0x7FFFFFFF))
    ties = tl.sum(upto, axis=0)
    following = tl.where((ties > low + 1) | (ties >= d), found, tl.min(above, axis=0))
    a = found.to(tl.float32, bitcast=True)
    b = following.to(tl.float32, bitcast=True)
    threshold = a + (b - a) * tl.full((), fraction, tl.float32)
    top = tl.full((), max, tl.float32)
    threshold = tl.where(threshold < 1.0, 1.0, threshold)
    tl.store(p_out + i_row, tl.where(threshold > top, top, threshold))


def _stride(t: Tensor) -> int:
    return t.stride(0) if t.numel() else 0


def step(*args: Any) -> tuple[Tensor, Tensor]:
    a = StepArguments(*args)
    out = alloc(a.x.shape, like=a.x)
    kept = alloc(a.x.shape if a.remember else (len(a.x), 0), like=a.x)
    if not a.x.numel():
        return out, kept
    x = flat_rows(a.x, a.x).contiguous()
    m, u, v = (flat_rows(t, a.x) for t in (a.output, a.unconditional, a.variance))
    h, d = flat_rows(a.multistep_buffer, a.x).contiguous(), x.shape[1]
    launch = settings("denoise.step", BLOCK=min(4096, triton.next_power_of_2(-(-d // 4))))
    pieces = -(-d // (4 * launch["BLOCK"]))
    _step_kernel[(len(x) * pieces,)](
        out, kept, x, m, u, v, h,
        a.table if a.dynamic_threshold is None else a.dynamic_threshold.contiguous(),
        a.table.contiguous(), a.table_row, a.rows.contiguous(),
        _stride(m), _stride(u), _stride(v), d, pieces, len(a.table),
        a.seed, a.stream, a.guidance, a.clip,
        GUIDED=a.unconditional is not None, LEARNED=a.variance is not None,
        BUFFERED=a.multistep_buffer is not None, THRESHOLDED=a.dynamic_threshold is not None,
        CLIP=a.clip > 0, NOISY=a.noisy, REMEMBER=a.remember, **launch, enable_fp_fusion=False,
    )  # fmt: skip
    return out, kept


def dynamic_threshold(*args: Any) -> Tensor:
    a = ThresholdArguments(*args)
    out = alloc((len(a.x),), like=a.table)
    if not a.x.numel():
        return out
    x = flat_rows(a.x, a.x).contiguous()
    m, u, d = flat_rows(a.output, a.x), flat_rows(a.unconditional, a.x), x.shape[1]
    position = a.quantile * (d - 1)
    low = int(position)
    _threshold_kernel[(len(x),)](
        out, x, m, u, a.table.contiguous(), a.table_row, _stride(m), _stride(u), d, len(a.table),
        low, position - low, a.guidance, a.max, GUIDED=a.unconditional is not None,
        BLOCK=triton.next_power_of_2(d) if interpreted() else 1024, num_warps=8,
        enable_fp_fusion=False,
    )  # fmt: skip
    return out
