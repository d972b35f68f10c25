"""Philox bits, uniforms and normals in Triton: the bits of reference.py.

One program draws BLOCK Philox blocks (4 BLOCK elements) of one row. Launched with fusion off, so
that every product is rounded before it is added.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from zoo_kernels._alloc import alloc
from zoo_kernels._tuning import settings


@triton.jit
def _log_unit(u):
    i = u.to(tl.int32, bitcast=True)
    e = ((i >> 23) - 127).to(tl.float32)
    m = ((i & 0x7FFFFF) | 0x3F800000).to(tl.float32, bitcast=True)
    large = m > 1.4142135381698608
    m = tl.where(large, m * 0.5, m)
    e = tl.where(large, e + 1.0, e)
    t = m - 1.0
    z = t * t
    p = t * 7.0376836292e-2 + -1.1514610310e-1
    p = p * t + 1.1676998740e-1
    p = p * t + -1.2420140846e-1
    p = p * t + 1.4249322787e-1
    p = p * t + -1.6668057665e-1
    p = p * t + 2.0000714765e-1
    p = p * t + -2.4999993993e-1
    p = p * t + 3.3333331174e-1
    y = t * (z * p) + e * -2.12194440e-4
    y = y - z * 0.5
    return (t + y) + e * 0.693359375


@triton.jit
def _box_muller(w0, w1):
    u1 = ((w0 >> 8) + 1).to(tl.int32).to(tl.float32) * 5.9604644775390625e-08
    r = tl.sqrt_rn(_log_unit(u1) * -2.0)
    k = (w1 >> 8).to(tl.int32)
    quadrant = (k + 2097152) >> 22
    x = (k - (quadrant << 22)).to(tl.float32) * 3.7450703871400037e-07
    z = x * x
    s = ((z * -1.9515295891e-4 + 8.3321608736e-3) * z + -1.6666654611e-1) * (z * x) + x
    c = ((z * 2.443315711809948e-5 + -1.388731625493765e-3) * z + 4.166664568298827e-2) * (z * z)
    c = c - z * 0.5 + 1.0
    odd = (quadrant & 1) == 1
    cos = tl.where(odd, s, c)
    sin = tl.where(odd, c, s)
    cos = tl.where(((quadrant + 1) & 2) == 2, -cos, cos)
    sin = tl.where((quadrant & 2) == 2, -sin, sin)
    return r * cos, r * sin


@triton.jit(do_not_specialize=["seed", "stream", "step", "first"])
def _draw_kernel(
    p_out,
    p_rows,
    seed,
    stream,
    step,
    first,
    numel,
    pieces,
    KIND: tl.constexpr,
    BLOCK: tl.constexpr,
):
    i_program = tl.program_id(0).to(tl.int64)
    i_row = i_program // pieces
    o_block = (i_program % pieces) * BLOCK + tl.arange(0, BLOCK)
    row = tl.load(p_rows + i_row).to(tl.uint32)
    block = (o_block + first).to(tl.uint32)
    zero = tl.zeros([BLOCK], tl.uint32)
    w0, w1, w2, w3 = tl.philox(
        seed, block, zero + step.to(tl.uint32), zero + stream.to(tl.uint32), zero + row
    )
    if KIND == "normal":
        z0, z1 = _box_muller(w0, w1)
        z2, z3 = _box_muller(w2, w3)
    elif KIND == "uniform":
        scale: tl.constexpr = 5.9604644775390625e-08
        z0 = (w0 >> 8).to(tl.int32).to(tl.float32) * scale
        z1 = (w1 >> 8).to(tl.int32).to(tl.float32) * scale
        z2 = (w2 >> 8).to(tl.int32).to(tl.float32) * scale
        z3 = (w3 >> 8).to(tl.int32).to(tl.float32) * scale
    else:
        z0, z1, z2, z3 = w0.to(tl.int64), w1.to(tl.int64), w2.to(tl.int64), w3.to(tl.int64)
    z = tl.interleave(tl.interleave(z0, z2), tl.interleave(z1, z3))
    o_element = (i_program % pieces) * (4 * BLOCK) + tl.arange(0, 4 * BLOCK)
    tl.store(p_out + i_row * numel + o_element, z, mask=o_element < numel)


def _draw(
    kind: str,
    dtype: torch.dtype,
    seed: int,
    rows: Tensor,
    numel: int,
    stream: int,
    step: int,
    offset: int,
) -> Tensor:
    out = alloc((len(rows), numel), like=rows, dtype=dtype)
    launch = settings("rng.draw", BLOCK=4096)
    pieces = -(-numel // (4 * launch["BLOCK"]))
    if out.numel():
        _draw_kernel[(len(rows) * pieces,)](
            out, rows.contiguous(), seed, stream, step, offset // 4, numel, pieces,
            KIND=kind, **launch, enable_fp_fusion=False,
        )  # fmt: skip
    return out


def bits(seed: int, rows: Tensor, numel: int, stream: int, step: int, offset: int) -> Tensor:
    return _draw("bits", torch.int64, seed, rows, numel, stream, step, offset)


def uniform(seed: int, rows: Tensor, numel: int, stream: int, step: int, offset: int) -> Tensor:
    return _draw("uniform", torch.float32, seed, rows, numel, stream, step, offset)


def normal(seed: int, rows: Tensor, numel: int, stream: int, step: int, offset: int) -> Tensor:
    return _draw("normal", torch.float32, seed, rows, numel, stream, step, offset)
