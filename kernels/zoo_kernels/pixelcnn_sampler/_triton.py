"""The whole sampler as one launch of one Triton kernel; equations in reference.py.

Images are independent, so a program owns BT of them and loops over rows, columns and layers
without communicating with other programs. Its caches are in global memory, small enough to stay in
L2: for each layer vertical (R, W BT, C), row (W BT, 4C), inputs v (W BT, C_in) and horizontal
(T, BT, C). A barrier follows every store that other threads of the program read. All widths are
padded to powers of two of at least 16; padded channels stay zero.

On a GPU products take TF32 operands, as cuDNN's do by default (three-fold TF32 spills registers):
a pixel whose uniform falls within about 1e-3 of a decision may differ from the CPU's.
"""

from typing import Any

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

from zoo_kernels._alloc import alloc
from zoo_kernels._dispatch import interpreted
from zoo_kernels._extension import Support
from zoo_kernels._precision import only_float32
from zoo_kernels.mixture_logistics import reference as mixture
from zoo_kernels.pixelcnn_sampler import _cpp, reference
from zoo_kernels.pixelcnn_sampler.reference import SampleArguments

BT = 16  # images in a program
# Kernels see no other globals than constexprs.
MEAN = tl.constexpr(mixture.MEAN)
LOG_SCALE = tl.constexpr(mixture.LOG_SCALE)
COEFFICIENT = tl.constexpr(mixture.COEFFICIENT)
MIN_LOG_SCALE = tl.constexpr(mixture.MIN_LOG_SCALE)


def tile_rows(outputs: int, conditional: bool) -> int:
    """BM, for products over a whole image row: wide heads and conditions leave fewer registers."""
    return 64 if outputs <= 64 and not conditional else 32


def head_width(outputs: int) -> int:
    """P: 32 outputs spill registers where 64 do not."""
    return 16 if outputs <= 16 else max(64, triton.next_power_of_2(outputs))


@triton.jit
def _tanh(x):
    return 2.0 * tl.sigmoid(2.0 * x) - 1.0


@triton.jit
def _gate(a, b):
    """tanh(a) sigmoid(b)."""
    return _tanh(a) * tl.sigmoid(b)


@triton.jit
def _dot(x, p_w, ldw, K: tl.constexpr, N: tl.constexpr, acc, PRECISION: tl.constexpr):
    w = tl.load(p_w + tl.arange(0, K)[:, None] * ldw + tl.arange(0, N)[None, :])
    return tl.dot(x, w, acc, input_precision=PRECISION)


@triton.jit
def _init_row_cache(
    p_w, p_vertical, p_row, r, width, CIN: tl.constexpr, K: tl.constexpr, R: tl.constexpr,
    C: tl.constexpr, BT: tl.constexpr, BM: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """row = [g | link] from the R finished rows above row r."""
    p_above = p_w + K * CIN * C + C
    p_bias = p_above + R * C * 4 * C
    o_c = tl.arange(0, C)
    for m0 in range(0, width * BT, BM):
        o_m = m0 + tl.arange(0, BM)
        m_m = (o_m < width * BT)[:, None]
        for n in tl.static_range(4):
            acc = tl.zeros([BM, C], tl.float32) + tl.load(p_bias + n * C + o_c)[None, :]
            for j in range(R):
                slot = (r + j) % R
                p_a = p_vertical + (slot * width * BT + o_m[:, None]) * C + o_c[None, :]
                a = tl.load(p_a, mask=m_m, other=0.0)
                acc = _dot(a, p_above + j * C * 4 * C + n * C, 4 * C, C, C, acc, PRECISION)
            tl.store(p_row + o_m[:, None] * (4 * C) + n * C + o_c[None, :], acc, mask=m_m)


@triton.jit
def _update_vertical_cache(
    p_w, p_vertical, p_row, p_v, p_next, p_cond, b0, batch, cond_stride, r, width,
    CIN: tl.constexpr, K: tl.constexpr, R: tl.constexpr, C: tl.constexpr, BT: tl.constexpr,
    BM: tl.constexpr, COND: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """The finished row's a, into the vertical, and the next layer's v."""
    p_a_bias = p_w + K * CIN * C
    p_here = p_a_bias + C + R * C * 4 * C + 4 * C
    o_c = tl.arange(0, C)
    o_i = tl.arange(0, CIN)
    rows = width * BT
    for m0 in range(0, rows, BM):
        o_m = m0 + tl.arange(0, BM)
        m_m = (o_m < rows)[:, None]
        a = tl.zeros([BM, C], tl.float32) + tl.load(p_a_bias + o_c)[None, :]
        for j in range(K):
            o_s = o_m + (j - K // 2) * BT
            m_s = ((o_s >= 0) & (o_s < rows))[:, None]
            v = tl.load(p_v + o_s[:, None] * CIN + o_i[None, :], mask=m_s, other=0.0)
            a = _dot(v, p_w + j * CIN * C, C, CIN, C, a, PRECISION)
        tl.store(p_vertical + ((r % R) * rows + o_m[:, None]) * C + o_c[None, :], a, mask=m_m)
        v = tl.load(p_v + o_m[:, None] * CIN + o_i[None, :], mask=m_m, other=0.0)
        p_g = p_row + o_m[:, None] * (4 * C) + o_c[None, :]
        ga = tl.load(p_g, mask=m_m, other=0.0)
        gb = tl.load(p_g + C, mask=m_m, other=0.0)
        if COND:
            o_b = b0 + o_m % BT
            p_add = p_cond + o_b[:, None] * cond_stride + o_c[None, :]
            m_b = m_m & (o_b < batch)[:, None]
            ga += tl.load(p_add, mask=m_b, other=0.0)
            gb += tl.load(p_add + C, mask=m_b, other=0.0)
        ga = _dot(v, p_here, 2 * C, CIN, C, ga, PRECISION)
        gb = _dot(v, p_here + C, 2 * C, CIN, C, gb, PRECISION)
        tl.store(p_next + o_m[:, None] * C + o_c[None, :], _gate(ga, gb), mask=m_m)


@triton.jit
def _link(
    p_row, p_cond, c, b0, batch, cond_stride, C: tl.constexpr, BT: tl.constexpr, COND: tl.constexpr
):
    """The two halves of the horizontal pre-activation before `across`."""
    o_b = tl.arange(0, BT)
    o_c = tl.arange(0, C)
    p = p_row + (c * BT + o_b[:, None]) * (4 * C) + 2 * C + o_c[None, :]
    a = tl.load(p)
    b = tl.load(p + C)
    if COND:
        p_add = p_cond + (b0 + o_b[:, None]) * cond_stride + 2 * C + o_c[None, :]
        m_b = (b0 + o_b < batch)[:, None]
        a += tl.load(p_add, mask=m_b, other=0.0)
        b += tl.load(p_add + C, mask=m_b, other=0.0)
    return a, b


@triton.jit
def _inverse_cdf(logits, u, columns, N):
    """The first k < N with u sum(p) < p_0 + ... + p_k."""
    used = (columns < N)[None, :]
    logits = tl.where(used, logits, float("-inf"))
    cumulative = tl.cumsum(tl.exp(logits - tl.max(logits, 1)[:, None]), 1)
    under = (u * tl.max(cumulative, 1))[:, None] < cumulative
    k = tl.sum(tl.where(used & (under == 0), 1, 0), 1)
    return tl.minimum(k, N - 1)


@triton.jit
def _pick(logits, columns, k):
    return tl.sum(tl.where(columns[None, :] == k[:, None], logits, 0.0), 1)


@triton.jit
def _to_level(x, levels):
    level = tl.floor((x + 1.0) * (0.5 * (levels - 1)) + 0.5)
    level = tl.where(level > 0.0, level, 0.0)  # and NaN
    return tl.where(level < levels - 1, level, (levels - 1).to(tl.float32))


@triton.jit
def _sample_kernel(
    p_x, p_u, p_cond, p_table, p_extra, p_w, p_vertical, p_row, p_v, p_horizontal,
    batch, height, width, layers, levels, outputs, n_table, n_extra,
    vertical_stride, row_stride, v_stride, horizontal_stride,
    CI: tl.constexpr, K0: tl.constexpr, R0: tl.constexpr, T0: tl.constexpr,
    C: tl.constexpr, K: tl.constexpr, R: tl.constexpr, T: tl.constexpr,
    D: tl.constexpr, P: tl.constexpr, I: tl.constexpr, HEAD: tl.constexpr, COND: tl.constexpr,
    EXTRA: tl.constexpr, BT: tl.constexpr, BM: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    i_p = tl.program_id(0).to(tl.int64)
    b0 = i_p * BT
    p_vertical += i_p * vertical_stride
    p_row += i_p * row_stride
    p_v += i_p * v_stride
    p_horizontal += i_p * horizontal_stride
    o_b, o_c, o_i = tl.arange(0, BT), tl.arange(0, C), tl.arange(0, CI)
    o_d, o_p = tl.arange(0, D), tl.arange(0, P)
    m_b = b0 + o_b < batch
    rows = width * BT
    # sizes of one layer in the weights and the caches
    first_w: tl.constexpr = (
        K0 * CI * C + C + R0 * C * 4 * C + 4 * C + (CI + T0 * CI + C) * 2 * C + 2 * C
    )
    next_w: tl.constexpr = K * C * C + C + R * C * 4 * C + 4 * C + (C + T * C + C) * 2 * C + 2 * C
    first_vertical = R0 * rows * C
    next_vertical = R * rows * C
    p_head = p_w + first_w + (layers - 1) * next_w
    cond_stride = layers * 4 * C
    draws: tl.constexpr = 1 + I if HEAD == "mixture" else 1
    plane = height * width

    for r in range(height):
        _init_row_cache(p_w, p_vertical, p_row, r, width, CI, K0, R0, C, BT, BM, PRECISION)
        for l in range(1, layers):
            _init_row_cache(
                p_w + first_w + (l - 1) * next_w,
                p_vertical + first_vertical + (l - 1) * next_vertical,
                p_row + l * rows * 4 * C, r, width, C, K, R, C, BT, BM, PRECISION,
            )  # fmt: skip
        tl.debug_barrier()

        for c in range(width):
            # first layer: inputs of the T0 pixels before this one
            a, b = _link(p_row, p_cond, c, b0, batch, cond_stride, C, BT, COND)
            p_across = p_w + first_w - (T0 * CI + C) * 2 * C - 2 * C
            for t in range(T0):
                col = c - T0 + t
                known = (o_b[:, None] * 0 + col) >= 0
                p_x_t = p_v + (col * BT + o_b[:, None]) * CI + o_i[None, :]
                x = tl.load(p_x_t, mask=known, other=0.0)
                a = _dot(x, p_across + t * CI * 2 * C, 2 * C, CI, C, a, PRECISION)
                b = _dot(x, p_across + t * CI * 2 * C + C, 2 * C, CI, C, b, PRECISION)
            act = _gate(a, b)
            p_out = p_w + first_w - C * 2 * C - 2 * C
            p_bias = p_w + first_w - 2 * C
            h = tl.zeros([BT, C], tl.float32) + tl.load(p_bias + o_c)[None, :]
            skips = tl.zeros([BT, C], tl.float32) + tl.load(p_bias + C + o_c)[None, :]
            h = _dot(act, p_out, 2 * C, C, C, h, PRECISION)
            skips = _dot(act, p_out + C, 2 * C, C, C, skips, PRECISION)

            for l in range(1, layers):
                p_end = p_w + first_w + l * next_w
                p_h = p_horizontal + (l - 1) * T * BT * C + o_b[:, None] * C + o_c[None, :]
                a, b = _link(
                    p_row + l * rows * 4 * C,
                    p_cond + l * 4 * C,
                    c,
                    b0,
                    batch,
                    cond_stride,
                    C,
                    BT,
                    COND,
                )
                p_across = p_end - (T * C + C) * 2 * C - 2 * C
                for t in range(T - 1):
                    col = c - T + 1 + t
                    known = (o_b[:, None] * 0 + o_c[None, :] * 0 + col) >= 0
                    x = tl.load(p_h + ((col + T) % T) * BT * C, mask=known, other=0.0)
                    a = _dot(x, p_across + t * C * 2 * C, 2 * C, C, C, a, PRECISION)
                    b = _dot(x, p_across + t * C * 2 * C + C, 2 * C, C, C, b, PRECISION)
                tl.store(p_h + (c % T) * BT * C, h)  # its column left the window a pixel ago
                a = _dot(h, p_across + (T - 1) * C * 2 * C, 2 * C, C, C, a, PRECISION)
                b = _dot(h, p_across + (T - 1) * C * 2 * C + C, 2 * C, C, C, b, PRECISION)
                act = _gate(a, b)
                h += tl.load(p_end - 2 * C + o_c)[None, :]
                skips += tl.load(p_end - C + o_c)[None, :]
                h = _dot(act, p_end - C * 2 * C - 2 * C, 2 * C, C, C, h, PRECISION)
                skips = _dot(act, p_end - C * 2 * C - C, 2 * C, C, C, skips, PRECISION)

            hidden = tl.zeros([BT, D], tl.float32) + tl.load(p_head + C * D + o_d)[None, :]
            hidden = _dot(
                tl.maximum(skips, 0.0, tl.PropagateNan.ALL), p_head, D, C, D, hidden, PRECISION
            )
            p_last = p_head + C * D + D
            logits = tl.zeros([BT, P], tl.float32) + tl.load(p_last + D * P + o_p)[None, :]
            logits = _dot(
                tl.maximum(hidden, 0.0, tl.PropagateNan.ALL), p_last, P, D, P, logits, PRECISION
            )

            at = r * width + c
            p_at = p_u + ((b0 + o_b) * plane + at) * draws
            u = tl.load(p_at, mask=m_b, other=0.5)
            inputs = tl.zeros([BT, CI], tl.float32)
            if HEAD == "binary":
                p_one = tl.sigmoid(tl.sum(tl.where((o_p == 0)[None, :], logits, 0.0), 1))
                k = tl.where(u < p_one, 1, 0)
            elif HEAD == "softmax":
                k = _inverse_cdf(logits, u, o_p, outputs)
            else:
                per_component: tl.constexpr = 3 if I == 1 else 1 + 3 * I
                kinds: tl.constexpr = 2 if I == 1 else 3
                n = outputs // per_component
                k = n + _inverse_cdf(logits, u, o_p, n)
            first = tl.zeros([BT], tl.float32)
            second = tl.zeros([BT], tl.float32)
            for i in tl.static_range(I):
                if HEAD == "mixture":
                    mean = _pick(logits, o_p, k + (i * kinds + MEAN) * n)
                    scale = _pick(logits, o_p, k + (i * kinds + LOG_SCALE) * n)
                    scale = tl.exp(tl.where(scale < MIN_LOG_SCALE, MIN_LOG_SCALE, scale))
                    if i == 1:
                        mean += _tanh(_pick(logits, o_p, k + COEFFICIENT * n)) * first
                    if i == 2:
                        on_0 = _pick(logits, o_p, k + (kinds + COEFFICIENT) * n)
                        on_1 = _pick(logits, o_p, k + (2 * kinds + COEFFICIENT) * n)
                        mean += _tanh(on_0) * first + _tanh(on_1) * second
                    u = tl.load(p_at + 1 + i, mask=m_b, other=0.5)
                    level = _to_level(mean + scale * tl.log(u / (1.0 - u)), levels)
                    drawn = level.to(tl.int64)
                    real = level * (2.0 / (levels - 1)) - 1.0
                    if i == 0:
                        first = real
                    if i == 1:
                        second = real
                else:
                    drawn = k.to(tl.int64)
                p_pixel = p_x + ((b0 + o_b) * I + i) * plane + at
                fixed = tl.load(p_pixel, mask=m_b, other=0)
                value = tl.where(fixed < 0, drawn, fixed)
                tl.store(p_pixel, value, mask=m_b)
                e = o_i - i * n_table
                mine = ((e >= 0) & (e < n_table))[None, :] & m_b[:, None]
                p_e = p_table + value[:, None] * n_table + e[None, :]
                inputs += tl.load(p_e, mask=mine, other=0.0)
            if EXTRA:
                e = o_i - I * n_table
                mine = (e >= 0) & (e < n_extra)
                inputs += tl.load(p_extra + at * n_extra + e, mask=mine, other=0.0)[None, :]
            tl.store(p_v + (c * BT + o_b[:, None]) * CI + o_i[None, :], inputs)
            tl.debug_barrier()

        p_next = p_v + rows * CI
        _update_vertical_cache(
            p_w, p_vertical, p_row, p_v, p_next, p_cond, b0, batch, cond_stride, r, width,
            CI, K0, R0, C, BT, BM, COND, PRECISION,
        )  # fmt: skip
        tl.debug_barrier()
        for l in range(1, layers):
            _update_vertical_cache(
                p_w + first_w + (l - 1) * next_w,
                p_vertical + first_vertical + (l - 1) * next_vertical,
                p_row + l * rows * 4 * C, p_next, p_next + rows * C, p_cond + l * 4 * C, b0,
                batch, cond_stride, r, width, C, K, R, C, BT, BM, COND, PRECISION,
            )  # fmt: skip
            p_next += rows * C
            tl.debug_barrier()


def verify(*args: Any) -> Support:
    a = SampleArguments(*args)
    ok, reason = only_float32(a.uniforms)
    if not ok:
        return ok, reason
    if len({layer.taps for layer in reference.layers(a.weights)[1:]}) > 1:
        return False, "needs equal kernel sizes in all layers but the first"
    return True, ""


def _power(n: int) -> int:
    return max(16, triton.next_power_of_2(n))


def _weights(weights: list[Tensor]) -> tuple[list[reference.Layer], list[Tensor], Tensor]:
    """Layers and head padded to powers of two, and all of it end to end."""
    layers = reference.layers(weights)
    c, n = layers[0].channels, layers[0].inputs
    hidden, outputs = len(weights[-3]), len(weights[-1])
    channels, inputs = (c, _power(c)), (n, _power(n))
    widths = [channels, (hidden, _power(hidden)), (outputs, head_width(outputs))]
    padded = _cpp.pad_stack(weights, inputs, *widths)
    return reference.layers(padded), padded, torch.cat([w.reshape(-1) for w in padded])


def sample(*args: Any) -> Tensor:
    a = SampleArguments(*args)
    x = alloc(a.fixed.shape, like=a.fixed).copy_(a.fixed)
    batch, image, height, width = x.shape
    if not x.numel():
        return x
    layers, padded, flat = _weights(a.weights)
    c, ci, programs, rows = layers[0].channels, layers[0].inputs, -(-batch // BT), width * BT
    (k0, r0, t0), (k, r, t) = layers[0].taps, layers[-1].taps
    sizes = {
        "vertical": (r0 + (len(layers) - 1) * r) * rows * c,
        "row": len(layers) * rows * 4 * c,
        "v": rows * (ci + len(layers) * c),
        "horizontal": max(len(layers) - 1, 1) * t * BT * c,
    }
    caches = {name: alloc((programs, size), like=a.uniforms) for name, size in sizes.items()}
    caches["vertical"].zero_()  # above the image is zero
    cond, extra = a.cond, a.extra
    if cond is not None:
        unpadded = a.weights[0].shape[1]
        cond = F.pad(cond.unflatten(-1, (2, unpadded)), (0, c - unpadded)).contiguous()
    constants = None if extra is None else extra.permute(1, 2, 0).contiguous()
    _sample_kernel[(programs,)](
        x, a.uniforms.contiguous(), flat if cond is None else cond, a.table.contiguous(),
        flat if constants is None else constants, flat, *caches.values(),
        batch, height, width, len(layers), a.levels, len(a.weights[-1]), a.table.shape[1],
        0 if extra is None else len(extra), *sizes.values(),
        CI=ci, K0=k0, R0=r0, T0=t0, C=c, K=k, R=r, T=t,
        D=len(padded[-3]), P=len(padded[-1]), I=image, HEAD=a.head, COND=cond is not None,
        EXTRA=extra is not None, BT=BT, BM=tile_rows(len(padded[-1]), cond is not None),
        PRECISION="ieee" if interpreted() else "tf32", num_warps=8, num_stages=1,
        enable_fp_fusion=True,
    )  # fmt: skip
    return x
