"""A program does BN queries of one head: it walks over the keys and keeps a running softmax.

With m the largest score so far, l = sum exp(s - m) and y = sum exp(s - m) v; a larger m' scales
both by exp(m - m') (Milakov & Gimelshein, 2018). Channels are padded to powers of two of at
least 16, which products demand.
"""

import triton
import triton.language as tl
from torch import Tensor

from zoo_kernels._alloc import alloc
from zoo_kernels._dispatch import interpreted


@triton.jit
def _attention_kernel(
    p_y, p_q, p_k, p_v, queries, keys, heads, d, pieces, scale,
    qb, qn, qh, kb, kn, kh, vb, vn, vh,
    D: tl.constexpr, BN: tl.constexpr, BM: tl.constexpr,
):  # fmt: skip
    i_program = tl.program_id(0).to(tl.int64)
    i_head = i_program // pieces % heads
    i_batch = i_program // pieces // heads
    o_n = i_program % pieces * BN + tl.arange(0, BN)
    o_d, o_m = tl.arange(0, D), tl.arange(0, BM)
    m_d = (o_d < d)[None, :]
    m_n = (o_n < queries)[:, None] & m_d
    p_q += i_batch * qb + i_head * qh
    p_k += i_batch * kb + i_head * kh
    p_v += i_batch * vb + i_head * vh
    q = tl.load(p_q + o_n[:, None] * qn + o_d[None, :], mask=m_n, other=0.0)
    q = q * tl.full((), scale, tl.float32)
    top = tl.full([BN], float("-inf"), tl.float32)
    total = tl.zeros([BN], tl.float32)
    y = tl.zeros([BN, D], tl.float32)
    for start in range(0, keys, BM):
        known = start + o_m < keys
        m_m = known[:, None] & m_d
        k = tl.load(p_k + (start + o_m)[:, None] * kn + o_d[None, :], mask=m_m, other=0.0)
        v = tl.load(p_v + (start + o_m)[:, None] * vn + o_d[None, :], mask=m_m, other=0.0)
        s = tl.dot(q, tl.trans(k), input_precision="ieee")
        s = tl.where(known[None, :], s, float("-inf"))
        higher = tl.maximum(top, tl.max(s, 1))
        p = tl.exp(s - higher[:, None])
        fade = tl.exp(top - higher)
        total = total * fade + tl.sum(p, 1)
        y = tl.dot(p, v, y * fade[:, None], input_precision="ieee")
        top = higher
    p_to = p_y + ((i_batch * queries + o_n[:, None]) * heads + i_head) * d + o_d[None, :]
    tl.store(p_to, y / total[:, None], mask=m_n)


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    out = alloc(q.shape, like=q)
    if not out.numel():
        return out
    q, k, v = (t if t.stride(3) == 1 else t.contiguous() for t in (q, k, v))
    B, N, H, d = q.shape
    tile = 64 if interpreted() else 32
    pieces = -(-N // tile)
    strides = [stride for t in (q, k, v) for stride in t.stride()[:3]]
    _attention_kernel[(B * H * pieces,)](
        out, q, k, v, N, k.shape[1], H, d, pieces, d**-0.5, *strides,
        D=max(16, triton.next_power_of_2(d)), BN=tile, BM=tile, num_warps=4, num_stages=2,
        enable_fp_fusion=True,
    )  # fmt: skip
    return out
