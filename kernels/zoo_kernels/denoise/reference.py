"""One step of any solver that is linear in what it knows.

Let m be the network's output (guided: u + w (c - u)), h what the step before remembered, z the
normals of zoo_kernels.rng at (seed, row, stream, step i), and C row i of the table:

    x0  = clip(C[P_X] x + C[P_M] m)
    out = C[C_X0] x0 + C[C_X] x + C[C_M] m + C[C_H] h + s z        s = C[S], or with a learned
    h'  = C[G_X0] x0 + C[G_X] x + C[G_M] m                         variance v (see below)

Clipping is to [-clip, clip], or by dynamic thresholding (Imagen, Saharia et al., 2022, sec. 2.3)
to [-l, l] and division by l, where l is a quantile of a row's |x0|, at least 1. The learned
variance is that of Nichol & Dhariwal (2021) eq. 15, with v in [-1, 1]:

    log var = (v + 1) / 2 C[LOG_MOST] + (1 - v) / 2 C[LOG_LEAST]        s = C[S] sqrt(var)

Shapes: x, m, u, v, h (B, *E); table (T, 16); index (1,), out of range gives NaN; rows (B,).
"""

import torch
from torch import Tensor

from zoo_kernels.rng import reference as rng

COLUMNS = 16
P_X, P_M, C_X0, C_X, C_M, C_H, S, LOG_LEAST, LOG_MOST, G_X0, G_X, G_M = range(12)


def single(t: Tensor) -> Tensor:
    return t if t.dtype == torch.float64 else t.float()


def _coefficients(table: Tensor, index: Tensor) -> Tensor:
    """Row `index` of the table, (16,)."""
    inside = (index >= 0) & (index < len(table))
    row = table[index.clamp(0, len(table) - 1)]
    return torch.where(inside.unsqueeze(-1), row, float("nan")).squeeze(0)


def _guided(output: Tensor, unconditional: Tensor | None, guidance: float) -> Tensor:
    m = single(output)
    if unconditional is None:
        return m
    return single(unconditional) + guidance * (m - single(unconditional))


def _per_row(t: Tensor, like: Tensor) -> Tensor:
    return t.reshape(-1, *[1] * (like.dim() - 1))


def _clipped(x0: Tensor, limit: Tensor | None, clip: float) -> Tensor:
    if limit is not None:
        bound = _per_row(limit, x0).to(x0)
        return torch.minimum(torch.maximum(x0, -bound), bound) / bound
    return x0.clamp(-clip, clip) if clip > 0 else x0


def _noise(
    x: Tensor, rows: Tensor, seed: int, stream: int, index: Tensor, deviation: Tensor
) -> Tensor:
    step = int(index.clamp(0, 2**32 - 1))
    z = rng.normal(seed, rows, x[0].numel() if len(x) else 0, stream, step, 0)
    return deviation * z.reshape(x.shape)


def _deviation(C: Tensor, variance: Tensor | None) -> Tensor:
    if variance is None:
        return C[S]
    v = single(variance)
    return C[S] * torch.exp(0.25 * ((v + 1) * C[LOG_MOST] + (1 - v) * C[LOG_LEAST]))


def step(
    x: Tensor, output: Tensor, unconditional: Tensor | None, variance: Tensor | None,
    history: Tensor | None, limit: Tensor | None, table: Tensor, index: Tensor, rows: Tensor,
    seed: int, stream: int, guidance: float, clip: float, noisy: bool, remember: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """(out, h'), h' empty unless `remember`."""
    C = _coefficients(table, index)
    wide, m = single(x), _guided(output, unconditional, guidance)
    C = C.to(wide)
    x0 = _clipped(C[P_X] * wide + C[P_M] * m, limit, clip)
    out = C[C_X0] * x0 + C[C_X] * wide + C[C_M] * m
    if history is not None:
        out = out + C[C_H] * single(history)
    if noisy:
        out = out + _noise(wide, rows, seed, stream, index, _deviation(C, variance))
    kept = C[G_X0] * x0 + C[G_X] * wide + C[G_M] * m if remember else x.new_empty(len(x), 0)
    return out.to(x.dtype), kept.to(x.dtype)


def limit(
    x: Tensor, output: Tensor, unconditional: Tensor | None, table: Tensor, index: Tensor,
    guidance: float, quantile: float, most: float,
) -> Tensor:  # fmt: skip
    """(B,) the quantile of each row's |x0|, interpolated linearly, within [1, most]."""
    wide, m = single(x), _guided(output, unconditional, guidance)
    C = _coefficients(table, index).to(wide)
    size = (C[P_X] * wide + C[P_M] * m).abs().flatten(1)
    place = quantile * (size.shape[1] - 1)
    low = int(place)
    ordered = size.sort(-1).values
    a, b = ordered[:, low], ordered[:, min(low + 1, size.shape[1] - 1)]
    return (a + (b - a) * (place - low)).clamp(1.0, most)
