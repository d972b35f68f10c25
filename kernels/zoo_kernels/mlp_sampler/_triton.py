"""The whole loop as one launch: a program owns BT rows, for which it does all steps.

Rows are independent, so programs do not communicate. What a layer computed goes through memory,
small enough to stay in L1, because every thread of the next product reads all of it; barriers
stand before and after each store. Widths are padded to powers of two of at least 16.
"""

from typing import Any

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

from zoo_kernels._alloc import alloc
from zoo_kernels._extension import Support
from zoo_kernels._precision import only_float32
from zoo_kernels.denoise._triton import (
    C_H,
    C_M,
    C_X,
    C_X0,
    COLUMNS,
    G_M,
    G_X,
    G_X0,
    P_M,
    P_X,
    S,
)
from zoo_kernels.mlp_sampler.reference import MlpArguments
from zoo_kernels.rng._triton import _box_muller

BT = 16  # rows of a program
WARPS = 8
WIDEST = 256
"""Padded units of a layer up to which a program's rows fit into registers."""


@triton.jit
def _linear(a, p_scratch, p_w, K: tl.constexpr, N: tl.constexpr, BT: tl.constexpr):
    """a W + b (BT, N) of a (BT, K); b follows W (K, N) in memory."""
    BK: tl.constexpr = 32 if K >= 32 else 16
    o_b, o_n, o_k = tl.arange(0, BT), tl.arange(0, N), tl.arange(0, BK)
    tl.debug_barrier()
    tl.store(p_scratch + o_b[:, None] * K + tl.arange(0, K)[None, :], a)
    tl.debug_barrier()
    out = tl.zeros([BT, N], tl.float32) + tl.load(p_w + K * N + o_n)[None, :]
    for k in range(0, K, BK):
        part = tl.load(p_scratch + o_b[:, None] * K + (k + o_k)[None, :])
        w = tl.load(p_w + (k + o_k)[:, None] * N + o_n[None, :])
        out = tl.dot(part, w, out, input_precision="ieee")
    return out


@triton.jit
def _modulate(u, p_scale, p_shift, units, N: tl.constexpr):
    """silu((1 + scale) norm(u) + shift); beyond the units, which no weight reads, anything."""
    o_n = tl.arange(0, N)
    mean = tl.sum(u, 1) / units
    away = tl.where((o_n < units)[None, :], u - mean[:, None], 0.0)
    per = 1.0 / tl.sqrt_rn(tl.sum(away * away, 1) / units + 1e-5)
    scale, shift = tl.load(p_scale + o_n)[None, :], tl.load(p_shift + o_n)[None, :]
    y = (1.0 + scale) * (away * per[:, None]) + shift
    return y * tl.sigmoid(y)


@triton.jit
def _normals(seed, rows, stream, i_step, D: tl.constexpr, BT: tl.constexpr):
    """The normals (BT, D) of the rows at a step."""
    zero = tl.zeros([BT, D // 4], tl.uint32)
    block = tl.arange(0, D // 4).to(tl.uint32)
    w0, w1, w2, w3 = tl.philox(
        seed,
        zero + block[None, :],
        zero + i_step,
        zero + stream.to(tl.uint32),
        zero + rows.to(tl.uint32)[:, None],
    )
    z0, z1 = _box_muller(w0, w1)
    z2, z3 = _box_muller(w2, w3)
    return tl.interleave(tl.interleave(z0, z2), tl.interleave(z1, z3))


@triton.jit(do_not_specialize=["seed", "stream"])
def _sample_kernel(
    p_x, p_table, p_modulation, p_w, p_rows, p_scratch, batch, d, units, layers, n_steps,
    seed, stream, clip,
    D: tl.constexpr, H: tl.constexpr, BT: tl.constexpr,
    CLIP: tl.constexpr, NOISY: tl.constexpr, REMEMBER: tl.constexpr,
):  # fmt: skip
    i_program = tl.program_id(0).to(tl.int64)
    o_b, o_d = tl.arange(0, BT), tl.arange(0, D)
    m_b = i_program * BT + o_b < batch
    m = m_b[:, None] & (o_d < d)[None, :]
    p_own = p_x + (i_program * BT + o_b)[:, None] * d + o_d[None, :]
    p_scratch += i_program * (BT * (H if H > D else D))
    rows = tl.load(p_rows + i_program * BT + o_b, mask=m_b, other=0)
    bound = tl.full((), clip, tl.float32)
    layer_size: tl.constexpr = H * H + H
    p_first = p_w + D * H + H
    p_last = p_first + layers * 2 * layer_size

    x = tl.load(p_own, mask=m, other=0.0)
    buffer = tl.zeros([BT, D], tl.float32)
    for i in range(n_steps):
        h = _linear(x, p_scratch, p_w, D, H, BT)
        for l in range(layers):
            p_layer = p_first + l * 2 * layer_size
            p_scale = p_modulation + (i * layers + l) * 2 * H
            u = _linear(h, p_scratch, p_layer, H, H, BT)
            u = _modulate(u, p_scale, p_scale + H, units, H)
            h += _linear(u, p_scratch, p_layer + layer_size, H, H, BT)
        out = _linear(h * tl.sigmoid(h), p_scratch, p_last, H, D, BT)

        p_c = p_table + i * COLUMNS
        x0 = tl.load(p_c + P_X) * x + tl.load(p_c + P_M) * out
        if CLIP:
            x0 = tl.where(x0 > bound, bound, x0)
            x0 = tl.where(x0 < -bound, -bound, x0)
        new = tl.load(p_c + C_X0) * x0 + tl.load(p_c + C_X) * x + tl.load(p_c + C_M) * out
        if REMEMBER:
            new += tl.load(p_c + C_H) * buffer
            buffer = tl.load(p_c + G_X0) * x0 + tl.load(p_c + G_X) * x + tl.load(p_c + G_M) * out
        if NOISY:
            new += tl.load(p_c + S) * _normals(seed, rows, stream, i, D, BT)
        x = tl.where(m, new, 0.0)
    tl.store(p_own, x, mask=m)


def _power(n: int) -> int:
    return max(16, int(triton.next_power_of_2(n)))


def verify(*args: Any) -> Support:
    a = MlpArguments(*args)
    ok, reason = only_float32(a.x)
    if not ok:
        return ok, reason
    if max(a.x.shape[1], len(a.weights[0])) > WIDEST:
        return False, f"needs at most {WIDEST} units and dimensions"
    return True, ""


def _flat(weights: list[Tensor], d: int, h: int) -> Tensor:
    """Every W transposed and padded, with its b behind it, end to end."""
    widths = [d, *[h] * (len(weights) // 2 - 1), d]
    parts = []
    for j, (w, b) in enumerate(zip(weights[::2], weights[1::2], strict=True)):
        k, n = widths[j], widths[j + 1]
        parts += [F.pad(w.T, (0, n - w.shape[0], 0, k - w.shape[1])).reshape(-1)]
        parts += [F.pad(b, (0, n - len(b)))]
    return torch.cat(parts)


def sample(*args: Any) -> Tensor:
    a = MlpArguments(*args)
    out = alloc(a.x.shape, like=a.x).copy_(a.x)
    if not out.numel():
        return out
    units, layers = len(a.weights[0]), a.modulation.shape[1]
    d, h, programs = _power(out.shape[1]), _power(units), -(-len(out) // BT)
    _sample_kernel[(programs,)](
        out, a.table.contiguous(), F.pad(a.modulation, (0, h - units)).contiguous(),
        _flat(a.weights, d, h), a.rows.contiguous(), alloc((programs, BT * max(h, d)), like=out),
        len(out), out.shape[1], units, layers, len(a.table), a.seed, a.stream, a.clip,
        D=d, H=h, BT=BT, CLIP=a.clip > 0, NOISY=a.noisy, REMEMBER=a.remember,
        num_warps=WARPS, num_stages=1, maxnreg=255, enable_fp_fusion=False,
    )  # fmt: skip
    return out
