"""The denoising step in Triton: one program 4 BLOCK elements of a row, a Philox block for four.

Coefficients come from row `*p_index` of the table, read in the kernel: one launch serves every
step and can be captured. No multiplication is fused with an addition, so the noise has the bits
of zoo_kernels.rng.
"""

import triton
import triton.language as tl
from torch import Tensor

from zoo_kernels._alloc import alloc
from zoo_kernels._dispatch import interpreted
from zoo_kernels._tuning import settings
from zoo_kernels.denoise import flat_rows
from zoo_kernels.rng._triton import _box_muller


@triton.jit
def _coefficient(p_table, i_step, inside, column: tl.constexpr):
    return tl.load(p_table + i_step * 16 + column, mask=inside, other=float("nan"))


@triton.jit
def _normals(seed, row, stream, i_step, block, BLOCK: tl.constexpr):
    """4 BLOCK normals in their order."""
    zero = tl.zeros([BLOCK], tl.uint32)
    w0, w1, w2, w3 = tl.philox(
        seed, block.to(tl.uint32), zero + i_step.to(tl.uint32), zero + stream.to(tl.uint32),
        zero + row.to(tl.uint32),
    )  # fmt: skip
    z0, z1 = _box_muller(w0, w1)
    z2, z3 = _box_muller(w2, w3)
    return tl.interleave(tl.interleave(z0, z2), tl.interleave(z1, z3))


@triton.jit(do_not_specialize=["seed", "stream"])
def _step_kernel(
    p_out, p_kept, p_x, p_m, p_u, p_v, p_h, p_limit, p_table, p_index, p_rows,
    m_row, u_row, v_row, d, pieces, n_steps, seed, stream, guidance, clip,
    GUIDED: tl.constexpr, LEARNED: tl.constexpr, HISTORY: tl.constexpr, LIMITED: tl.constexpr,
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
        _coefficient(p_table, i_step, inside, 0) * x + _coefficient(p_table, i_step, inside, 1) * m
    )
    if LIMITED:
        bound = tl.load(p_limit + i_row).to(tl.float32)
        x0 = tl.where(x0 > bound, bound, x0)
        x0 = tl.where(x0 < -bound, -bound, x0) / bound
    if CLIP:
        bound = tl.full((), clip, tl.float32)
        x0 = tl.where(x0 > bound, bound, x0)
        x0 = tl.where(x0 < -bound, -bound, x0)
    out = (
        _coefficient(p_table, i_step, inside, 2) * x0
        + _coefficient(p_table, i_step, inside, 3) * x
        + _coefficient(p_table, i_step, inside, 4) * m
    )
    if HISTORY:
        h = tl.load(p_h + i_row * d + o, mask=m_o, other=0.0).to(tl.float32)
        out += _coefficient(p_table, i_step, inside, 5) * h
    if NOISY:
        block = i_piece * BLOCK + tl.arange(0, BLOCK)
        z = _normals(seed, tl.load(p_rows + i_row), stream, i_step, block, BLOCK)
        deviation = _coefficient(p_table, i_step, inside, 6)
        if LEARNED:
            v = tl.load(p_v + i_row * v_row + o, mask=m_o, other=0.0).to(tl.float32)
            least = _coefficient(p_table, i_step, inside, 7)
            most = _coefficient(p_table, i_step, inside, 8)
            out += deviation * tl.exp(((v + 1.0) * most + (1.0 - v) * least) * 0.25) * z
        else:
            out += deviation * z
    tl.store(p_out + i_row * d + o, out.to(p_out.dtype.element_ty), mask=m_o)
    if REMEMBER:
        kept = (
            _coefficient(p_table, i_step, inside, 9) * x0
            + _coefficient(p_table, i_step, inside, 10) * x
            + _coefficient(p_table, i_step, inside, 11) * m
        )
        tl.store(p_kept + i_row * d + o, kept.to(p_kept.dtype.element_ty), mask=m_o)


@triton.jit
def _sizes(
    p_x, p_m, p_u, i_row, m_row, u_row, o, d, c_x, c_m, guidance, GUIDED: tl.constexpr
):  # fmt: skip
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
def _limit_kernel(
    p_out, p_x, p_m, p_u, p_table, p_index, m_row, u_row, d, n_steps, low, fraction, guidance,
    most, GUIDED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One row: the order statistic `low` by bisection over the 31 bits, then the next one."""
    i_row = tl.program_id(0).to(tl.int64)
    i_step = tl.load(p_index)
    inside = (i_step >= 0) & (i_step < n_steps)
    c_x = _coefficient(p_table, i_step, inside, 0)
    c_m = _coefficient(p_table, i_step, inside, 1)
    w = tl.full((), guidance, tl.float32)
    found = tl.zeros((), tl.int32)  # the largest value with at most `low` sizes below it
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
    limit = a + (b - a) * tl.full((), fraction, tl.float32)
    top = tl.full((), most, tl.float32)
    limit = tl.where(limit < 1.0, 1.0, limit)
    tl.store(p_out + i_row, tl.where(limit > top, top, limit))


def _stride(t: Tensor) -> int:
    return t.stride(0) if t.numel() else 0


def step(
    x: Tensor, output: Tensor, unconditional: Tensor | None, variance: Tensor | None,
    history: Tensor | None, limit: Tensor | None, table: Tensor, index: Tensor, rows: Tensor,
    seed: int, stream: int, guidance: float, clip: float, noisy: bool, remember: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    out, kept = alloc(x.shape, like=x), alloc(x.shape if remember else (len(x), 0), like=x)
    if not x.numel():
        return out, kept
    flat = flat_rows(x, x).contiguous()
    m, u, v, h = (flat_rows(t, x) for t in (output, unconditional, variance, history))
    d = flat.shape[1]
    launch = settings("denoise.step", BLOCK=min(4096, triton.next_power_of_2(-(-d // 4))))
    pieces = -(-d // (4 * launch["BLOCK"]))
    _step_kernel[(len(x) * pieces,)](
        out, kept, flat, m, u, v, h.contiguous(), table if limit is None else limit.contiguous(),
        table.contiguous(), index, rows.contiguous(), _stride(m), _stride(u), _stride(v), d,
        pieces, len(table), seed, stream, guidance, clip, GUIDED=unconditional is not None,
        LEARNED=variance is not None, HISTORY=history is not None, LIMITED=limit is not None,
        CLIP=clip > 0, NOISY=noisy, REMEMBER=remember, **launch,
        enable_fp_fusion=False,
    )  # fmt: skip
    return out, kept


def limit(
    x: Tensor, output: Tensor, unconditional: Tensor | None, table: Tensor, index: Tensor,
    guidance: float, quantile: float, most: float,
) -> Tensor:  # fmt: skip
    out = alloc((len(x),), like=table)
    if not x.numel():
        return out
    flat = flat_rows(x, x).contiguous()
    m, u = flat_rows(output, x), flat_rows(unconditional, x)
    d = flat.shape[1]
    place = quantile * (d - 1)
    _limit_kernel[(len(x),)](
        out, flat, m, u, table.contiguous(), index, _stride(m), _stride(u), d, len(table),
        int(place), place - int(place), guidance, most, GUIDED=unconditional is not None,
        BLOCK=triton.next_power_of_2(d) if interpreted() else 1024, num_warps=8,
        enable_fp_fusion=False,
    )  # fmt: skip
    return out
