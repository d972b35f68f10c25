"""Philox 4x32-10 and a Box-Muller transform whose every bit is defined.

Salmon et al., Parallel random numbers: as easy as 1, 2, 3 (SC 2011). Counter-based: the draw is a
pure function of (seed, row, stream, step, element).

    key     = (seed mod 2^32, seed div 2^32)
    counter = (element div 4, step, stream, row)          word = element mod 4
    u       = (word div 2^8) 2^-24                         in [0, 1)
    z       = sqrt(-2 ln u1) (cos, sin)(2 pi u2)           u1 = ((w0 div 2^8) + 1) 2^-24 in (0, 1]

The normals use only + - *, IEEE sqrt and bit operations in float32, in this order and never
fused, so that C++ and Triton give the same bits. Words (0, 1) make z0, z1; words (2, 3) z2, z3.

Shapes: B rows, n elements; uint32 values are held in int64.
"""

import torch
from torch import Tensor

MASK = 0xFFFFFFFF
PHILOX_M = (0xD2511F53, 0xCD9E8D57)
PHILOX_W = (0x9E3779B9, 0xBB67AE85)

# ln(1 + t) for 1 + t in [sqrt(1/2), sqrt(2)): Cephes logf, t - t^2/2 + t^3 P(t).
LOG_P = (7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1,
         -1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1)  # fmt: skip
LN2_HIGH, LN2_LOW = 0.693359375, -2.12194440e-4
SQRT2 = 1.4142135381698608  # the float32 nearest sqrt(2)
# sin x = x + x^3 S(x^2), cos x = 1 - x^2/2 + x^4 C(x^2) on |x| <= pi/4: Cephes sinf, cosf.
SIN_P = (-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1)
COS_P = (2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2)
RADIANS = 3.7450703871400037e-07  # pi/2 2^-22 in float32: a quarter turn is 2^22 units of u2


def philox4x32(counter: list[Tensor], key: tuple[int, int]) -> list[Tensor]:
    """Ten rounds on four uint32 words (held in int64): products wrap modulo 2^64."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        p0, p1 = c0 * PHILOX_M[0], c2 * PHILOX_M[1]
        c0, c1, c2, c3 = (
            ((p1 >> 32) & MASK) ^ c1 ^ k0,
            p1 & MASK,
            ((p0 >> 32) & MASK) ^ c3 ^ k1,
            p0 & MASK,
        )
        k0, k1 = (k0 + PHILOX_W[0]) & MASK, (k1 + PHILOX_W[1]) & MASK
    return [c0, c1, c2, c3]


def words(seed: int, rows: Tensor, numel: int, stream: int, step: int, offset: int) -> Tensor:
    """(B, blocks, 4) uint32: all words of the blocks that hold elements offset..offset+numel."""
    first, last = offset // 4, -(-(offset + numel) // 4)
    block = torch.arange(first, last, dtype=torch.int64, device=rows.device)
    block = block.expand(len(rows), -1)
    row = rows[:, None].expand_as(block)
    constant = [torch.full_like(block, value) for value in (step, stream)]
    key = (seed & MASK, (seed >> 32) & MASK)
    return torch.stack(philox4x32([block, *constant, row & MASK], key), dim=-1)


def bits(seed: int, rows: Tensor, numel: int, stream: int, step: int, offset: int) -> Tensor:
    """(B, numel) int64 with values in [0, 2^32)."""
    return words(seed, rows, numel, stream, step, offset).flatten(1)[:, :numel].contiguous()


def uniform(seed: int, rows: Tensor, numel: int, stream: int, step: int, offset: int) -> Tensor:
    """(B, numel) float32 in [0, 1)."""
    return (bits(seed, rows, numel, stream, step, offset) >> 8).float() * 2.0**-24


def log_unit(u: Tensor) -> Tensor:
    """ln u for float32 u in (0, 1]: exponent and mantissa apart, then a polynomial."""
    i = u.view(torch.int32)
    e = ((i >> 23) - 127).float()
    m = ((i & 0x7FFFFF) | 0x3F800000).view(torch.float32)  # [1, 2)
    large = m > SQRT2
    m, e = torch.where(large, m * 0.5, m), torch.where(large, e + 1.0, e)
    t = m - 1.0
    z = t * t
    p = torch.full_like(t, LOG_P[0])
    for coefficient in LOG_P[1:]:
        p = p * t + coefficient
    y = t * (z * p) + e * LN2_LOW
    y = y - z * 0.5
    return (t + y) + e * LN2_HIGH


def cos_sin(k: Tensor) -> tuple[Tensor, Tensor]:
    """cos and sin of 2 pi k 2^-24 for integers k in [0, 2^24): nearest quarter turn, then a
    polynomial on [-pi/4, pi/4]."""
    quadrant = (k + 2**21) >> 22
    x = (k - (quadrant << 22)).float() * RADIANS
    z = x * x
    s = ((z * SIN_P[0] + SIN_P[1]) * z + SIN_P[2]) * (z * x) + x
    c = ((z * COS_P[0] + COS_P[1]) * z + COS_P[2]) * (z * z) - z * 0.5 + 1.0
    odd = (quadrant & 1) == 1
    cos, sin = torch.where(odd, s, c), torch.where(odd, c, s)
    cos = torch.where(((quadrant + 1) & 2) == 2, -cos, cos)
    sin = torch.where((quadrant & 2) == 2, -sin, sin)
    return cos, sin


def box_muller(w0: Tensor, w1: Tensor) -> tuple[Tensor, Tensor]:
    """Two standard normals from two uint32 words."""
    u1 = ((w0 >> 8) + 1).float() * 2.0**-24
    # torch.sqrt on float32 is off by one bit in 17 % (MKL); through float64 it is IEEE's.
    r = torch.sqrt((log_unit(u1) * -2.0).double()).float()
    cos, sin = cos_sin(w1 >> 8)
    return r * cos, r * sin


def normal(seed: int, rows: Tensor, numel: int, stream: int, step: int, offset: int) -> Tensor:
    """(B, numel) float32 standard normals."""
    w = words(seed, rows, numel, stream, step, offset)
    z0, z1 = box_muller(w[..., 0], w[..., 1])
    z2, z3 = box_muller(w[..., 2], w[..., 3])
    return torch.stack((z0, z1, z2, z3), dim=-1).flatten(1)[:, :numel].contiguous()
