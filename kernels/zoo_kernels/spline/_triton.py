"""Rational-quadratic splines in Triton: a lane per element, a program per BLOCK elements of a row.

The parameters are addressed by strides, so either layout is read in place. The bin is found by
walking over all of them (no gather). A row's log-determinant is summed in a program, and over a
row's programs in order by a second kernel: no atomics. BLOCK depends on the shape alone.
"""

import math
from collections.abc import Callable

import torch
import triton
import triton.language as tl
from torch import Tensor

from zoo_kernels._alloc import alloc, alloc_like
from zoo_kernels._bijection import collapsible
from zoo_kernels._tuning import Settings, settings
from zoo_kernels.spline import EVENT, collapsed


@triton.jit
def _single(scalar):
    """A compiled graph passes float64 scalars, the interpreter Python's."""
    return tl.full((), scalar, tl.float32)


@triton.jit
def _softplus(u):
    e = tl.exp(-tl.abs(u))
    w = 1.0 + e
    small = w == 1.0
    log1p = tl.where(small, e, tl.log(w) * (e / tl.where(small, 1.0, w - 1.0)))
    return tl.where(u < 0.0, u * 0.0, u) + log1p


@triton.jit
def _sigmoid(u):
    e = tl.exp(-tl.abs(u))
    return tl.where(u < 0.0, e, 1.0) / (1.0 + e)


@triton.jit
def _parameter(p_element, j, sk, m_element):
    return tl.load(p_element + j * sk, mask=m_element, other=0.0).to(tl.float32)


@triton.jit
def _tops(p_element, sk, m_element, K: tl.constexpr):
    """Maxima and sums of exponentials of the widths and of the heights."""
    top_w = _parameter(p_element, 0, sk, m_element)
    top_h = _parameter(p_element, K, sk, m_element)
    for j in tl.static_range(1, K):
        top_w = tl.maximum(top_w, _parameter(p_element, j, sk, m_element))
        top_h = tl.maximum(top_h, _parameter(p_element, K + j, sk, m_element))
    sum_w = tl.zeros_like(top_w)
    sum_h = tl.zeros_like(top_h)
    for j in tl.static_range(K):
        sum_w += tl.exp(_parameter(p_element, j, sk, m_element) - top_w)
        sum_h += tl.exp(_parameter(p_element, K + j, sk, m_element) - top_h)
    return top_w, top_h, sum_w, sum_h


@triton.jit
def _find(
    position, p_element, sk, m_element, top_w, top_h, sum_w, sum_h,
    left, right, min_w, min_h, min_d, K: tl.constexpr, INVERSE: tl.constexpr,
):  # fmt: skip
    """The bin: number, knots, sizes, derivatives, their slopes, exponentials before and in."""
    span = right - left
    scale_w = span * (1.0 - min_w * K) / sum_w
    scale_h = span * (1.0 - min_h * K) / sum_h
    zero = tl.zeros_like(sum_w)
    x, y = zero + left, zero + left
    k, bx, bw, by, bh, d0, d1, s0, s1 = zero, x, zero, y, zero, zero, zero, zero, zero
    cw, ch, before_w, before_h, here_w, here_h = zero, zero, zero, zero, zero, zero
    last_d = zero + 1.0
    for j in tl.static_range(K):
        e_w = tl.exp(_parameter(p_element, j, sk, m_element) - top_w)
        e_h = tl.exp(_parameter(p_element, K + j, sk, m_element) - top_h)
        next_u = zero
        if j == K - 1:
            next_x, next_y = zero + right, zero + right
        else:
            next_x = x + (min_w * span + e_w * scale_w)
            next_y = y + (min_h * span + e_h * scale_h)
            next_u = _parameter(p_element, 2 * K + j, sk, m_element)
        here = (position >= (y if INVERSE else x)) | (j == 0)
        k = tl.where(here, zero + j, k)
        bx = tl.where(here, x, bx)
        bw = tl.where(here, next_x - x, bw)
        by = tl.where(here, y, by)
        bh = tl.where(here, next_y - y, bh)
        d0 = tl.where(here, last_d, d0)
        d1 = tl.where(here, next_u, d1)
        before_w = tl.where(here, cw, before_w)
        before_h = tl.where(here, ch, before_h)
        here_w = tl.where(here, e_w, here_w)
        here_h = tl.where(here, e_h, here_h)
        cw += e_w
        ch += e_h
        x, y, last_d = next_x, next_y, next_u
    first, last = k == 0.0, k == K - 1.0
    s0 = tl.where(first, 0.0, _sigmoid(d0))
    s1 = tl.where(last, 0.0, _sigmoid(d1))
    d0 = tl.where(first, 1.0, min_d + _softplus(d0))
    d1 = tl.where(last, 1.0, min_d + _softplus(d1))
    return k, bx, bw, by, bh, d0, d1, s0, s1, before_w, before_h, here_w, here_h


@triton.jit
def _solve(dy, h, s, d0, d1):
    """The root in [0, 1] of a theta^2 + q theta + c, for either sign of q without cancellation."""
    k2 = d0 + d1 - 2.0 * s
    a = dy * k2 + h * (s - d0)
    q = h * d0 - dy * k2
    c = -s * dy
    square = q * q - 4.0 * a * c
    root = tl.sqrt_rn(tl.where(square < 1e-30, 1e-30, square))
    rising = q > 0.0
    theta = tl.where(rising, 2.0 * c, root - q) / tl.where(rising, -q - root, 2.0 * a)
    theta = tl.where(theta < 0.0, 0.0, theta)
    return tl.where(theta > 1.0, 1.0, theta)


@triton.jit
def _values_kernel(
    p_out, p_ladj, p_x, p_params, d, d2, blocks, sb, s1, s2, sk,
    left, right, min_w, min_h, min_d,
    K: tl.constexpr, INVERSE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    left, right = _single(left), _single(right)
    min_w, min_h, min_d = _single(min_w), _single(min_h), _single(min_d)
    i_program = tl.program_id(0).to(tl.int64)
    i_row = i_program // blocks
    o = (i_program % blocks) * BLOCK + tl.arange(0, BLOCK)
    m = o < d
    p = tl.load(p_x + i_row * d + o, mask=m, other=0.0).to(tl.float32)
    p_element = p_params + i_row * sb + (o // d2) * s1 + (o % d2) * s2
    top_w, top_h, sum_w, sum_h = _tops(p_element, sk, m, K)
    k, bx, bw, by, bh, d0, d1, g0, g1, cw, ch, ew, eh = _find(
        p,
        p_element,
        sk,
        m,
        top_w,
        top_h,
        sum_w,
        sum_h,
        left,
        right,
        min_w,
        min_h,
        min_d,
        K,
        INVERSE,
    )
    s = bh / bw
    k2 = d0 + d1 - 2.0 * s
    if INVERSE:
        theta = _solve(p - by, bh, s, d0, d1)
    else:
        theta = (p - bx) / bw
    u = 1.0 - theta
    t = theta * u
    D = s + k2 * t
    P = d1 * theta * theta + 2.0 * s * t + d0 * u * u
    q = s / D
    if INVERSE:
        value = bx + theta * bw
        ladj = -tl.log(q * q * P)
    else:
        value = by + bh * (s * theta * theta + d0 * t) / D
        ladj = tl.log(q * q * P)
    outside = (p < left) | (p > right)
    value = tl.where(outside, p, value)
    ladj = tl.where(outside | (o >= d), 0.0, ladj)
    tl.store(p_out + i_row * d + o, value.to(p_out.dtype.element_ty), mask=m)
    tl.store(p_ladj + i_program, tl.sum(ladj, axis=0))


@triton.jit
def _row_sum_kernel(p_out, p_parts, blocks):
    """In order, so that a row's sum does not depend on its batch."""
    i_row = tl.program_id(0).to(tl.int64)
    total = tl.load(p_parts + i_row * blocks)
    for i in range(1, blocks):
        total += tl.load(p_parts + i_row * blocks + i)
    tl.store(p_out + i_row, total)


@triton.jit
def _backward_kernel(
    p_gx, p_gparams, p_x, p_params, p_grad, p_gladj, d, d2, blocks, sb, s1, s2, sk,
    left, right, min_w, min_h, min_d, tb, t1, t2, tk,
    K: tl.constexpr, INVERSE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    left, right = _single(left), _single(right)
    min_w, min_h, min_d = _single(min_w), _single(min_h), _single(min_d)
    i_program = tl.program_id(0).to(tl.int64)
    i_row = i_program // blocks
    o = (i_program % blocks) * BLOCK + tl.arange(0, BLOCK)
    m = o < d
    p = tl.load(p_x + i_row * d + o, mask=m, other=0.0).to(tl.float32)
    grad = tl.load(p_grad + i_row * d + o, mask=m, other=0.0).to(tl.float32)
    grad_l = tl.load(p_gladj + i_row).to(tl.float32)
    p_element = p_params + i_row * sb + (o // d2) * s1 + (o % d2) * s2
    top_w, top_h, sum_w, sum_h = _tops(p_element, sk, m, K)
    k, bx, bw, by, bh, d0, d1, slope0, slope1, before_w, before_h, e_w, e_h = _find(
        p,
        p_element,
        sk,
        m,
        top_w,
        top_h,
        sum_w,
        sum_h,
        left,
        right,
        min_w,
        min_h,
        min_d,
        K,
        INVERSE,
    )
    s = bh / bw
    k2 = d0 + d1 - 2.0 * s
    if INVERSE:
        theta = _solve(p - by, bh, s, d0, d1)
        gl = -grad_l
    else:
        theta = (p - bx) / bw
        gl = grad_l
    u = 1.0 - theta
    t = theta * u
    D = s + k2 * t
    A = s * theta * theta + d0 * t
    P = d1 * theta * theta + 2.0 * s * t + d0 * u * u
    turn = 1.0 - 2.0 * theta
    gP = gl / P
    P_theta = 2.0 * (d1 * theta + s * turn - d0 * u)
    if INVERSE:
        q = s / D
        gy = -(grad + (gP * P_theta - 2.0 * gl * k2 * turn / D) / bw) / (q * q * P)
    else:
        gy = grad
    gA = gy * bh / D
    gD = -(gA * A + 2.0 * gl) / D
    g_theta = gA * (2.0 * s * theta + d0 * turn) + gD * k2 * turn + gP * P_theta
    gs = gA * theta * theta + gD * (1.0 - 2.0 * t) + 2.0 * gP * t + 2.0 * gl / s
    gx = g_theta / bw
    outside = (p < left) | (p > right)
    c_w = (right - left) * (1.0 - min_w * K)
    c_h = (right - left) * (1.0 - min_h * K)
    edge_w = tl.where(outside, 0.0, -gx * c_w)
    size_w = tl.where(outside, 0.0, -(gs * s + g_theta * theta) / bw * c_w)
    edge_h = tl.where(outside, 0.0, gy * c_h)
    size_h = tl.where(outside, 0.0, (gy * A / D + gs / bw) * c_h)
    dot_w = (before_w * edge_w + e_w * size_w) / sum_w
    dot_h = (before_h * edge_h + e_h * size_h) / sum_h
    g0 = tl.where(outside, 0.0, ((gA + gD) * t + gP * u * u) * slope0)
    g1 = tl.where(outside, 0.0, (gD * t + gP * theta * theta) * slope1)
    if INVERSE:
        g_in = tl.where(outside, grad, -gy)
    else:
        g_in = tl.where(outside, grad, gx)
    tl.store(p_gx + i_row * d + o, g_in.to(p_gx.dtype.element_ty), mask=m)
    p_to = p_gparams + i_row * tb + (o // d2) * t1 + (o % d2) * t2
    for j in tl.static_range(K):
        q_w = tl.exp(_parameter(p_element, j, sk, m) - top_w) / sum_w
        q_h = tl.exp(_parameter(p_element, K + j, sk, m) - top_h) / sum_h
        g_w = tl.where(k > j, edge_w, tl.where(k == j, size_w, 0.0))
        g_h = tl.where(k > j, edge_h, tl.where(k == j, size_h, 0.0))
        g_w = q_w * (g_w - dot_w)
        g_h = q_h * (g_h - dot_h)
        tl.store(p_to + j * tk, g_w.to(p_gparams.dtype.element_ty), mask=m)
        tl.store(p_to + (K + j) * tk, g_h.to(p_gparams.dtype.element_ty), mask=m)
    for j in tl.static_range(K - 1):
        g_d = tl.where(k == j + 1, g0, tl.where(k == j, g1, 0.0))
        tl.store(p_to + (2 * K + j) * tk, g_d.to(p_gparams.dtype.element_ty), mask=m)


def _layout(kernel: str, params: Tensor) -> tuple[Settings, int, int, int, tuple[int, ...]]:
    """How it is launched, d, d2, programs per row, strides."""
    d = params.shape[1] * params.shape[2]
    launch = settings(f"spline.{kernel}", BLOCK=triton.next_power_of_2(d))
    return launch, d, params.shape[2], -(-d // launch["BLOCK"]), params.stride()


def _values(is_inverse: bool) -> Callable[..., tuple[Tensor, Tensor]]:
    def run(x: Tensor, params: Tensor, *bounds: float) -> tuple[Tensor, Tensor]:
        out, ladj = alloc(x.shape, like=x), alloc(x.shape[:1], like=x, dtype=torch.float32)
        if not x.numel():
            return out, ladj.zero_()
        p = collapsed(params)
        launch, d, d2, blocks, strides = _layout("values", p)
        parts = ladj if blocks == 1 else alloc((len(x), blocks), like=ladj)
        _values_kernel[(len(x) * blocks,)](
            out, parts, x.contiguous(), p, d, d2, blocks, *strides, *bounds,
            K=(params.shape[-1] + 1) // 3, INVERSE=is_inverse, **launch, enable_fp_fusion=True,
        )  # fmt: skip
        if blocks > 1:
            _row_sum_kernel[(len(x),)](ladj, parts, blocks, num_warps=1, enable_fp_fusion=True)
        return out, ladj

    return run


forward, inverse = _values(False), _values(True)


def backward(
    x: Tensor, params: Tensor, grad: Tensor, grad_ladj: Tensor, *options: float
) -> tuple[Tensor, Tensor]:
    *bounds, is_inverse = options
    params = collapsible(params, EVENT)
    grad_x, grad_params = alloc(x.shape, like=x), alloc_like(params)
    if x.numel():
        p, g = collapsed(params), collapsed(grad_params)
        launch, d, d2, blocks, strides = _layout("backward", p)
        _backward_kernel[(math.prod((len(x), blocks)),)](
            grad_x, g, x.contiguous(), p, grad.contiguous(), grad_ladj.contiguous(), d, d2, blocks,
            *strides, *bounds, *g.stride(), K=(params.shape[-1] + 1) // 3,
            INVERSE=bool(is_inverse), **launch, enable_fp_fusion=True,
        )  # fmt: skip
    return grad_x, grad_params
