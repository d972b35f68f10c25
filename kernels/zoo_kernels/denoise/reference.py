"""One step of any solver that is linear in what it knows.

Let m be the network's output (guided: u + w (c - u)), h what the step before put into the
multistep buffer, z the normals of zoo_kernels.rng at (seed, row, stream, step i), and C row i of
the table:

    x0  = clip(C[P_X] x + C[P_M] m)
    out = C[C_X0] x0 + C[C_X] x + C[C_M] m + C[C_H] h + s z        s = C[S], or with a learned
    h'  = C[G_X0] x0 + C[G_X] x + C[G_M] m                         variance v (see below)

Clipping is to [-clip, clip], or by dynamic thresholding (Imagen, Saharia et al., 2022, sec. 2.3)
to [-l, l] and division by l, where l is a quantile of a row's |x0|, at least 1. The learned
variance is that of Nichol & Dhariwal (2021) eq. 15, with v in [-1, 1]:

    log var = (v + 1) / 2 C[LOG_VAR_MAX] + (1 - v) / 2 C[LOG_VAR_MIN]      s = C[S] sqrt(var)

Shapes: x, m, u, v, h (B, *E); table (T, 16); index (1,), out of range gives NaN; rows (B,).
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from zoo_kernels._precision import to_float32
from zoo_kernels.rng import reference as rng

COLUMN_NAMES = (
    *("P_X", "P_M", "C_X0", "C_X", "C_M", "C_H"),
    *("S", "LOG_VAR_MIN", "LOG_VAR_MAX", "G_X0", "G_X", "G_M"),
)
"""The columns of a table in their order, which _triton.py takes and csrc/denoise.h repeats."""
COLUMNS = 16
"""Columns of a table; those after the named ones are zero."""
P_X, P_M, C_X0, C_X, C_M, C_H, S, LOG_VAR_MIN, LOG_VAR_MAX, G_X0, G_X, G_M = range(
    len(COLUMN_NAMES)
)


class StepArguments(NamedTuple):
    """The arguments of `zoo::denoise_step` in their order."""

    x: Tensor  # (B, *E), as the next five where they are present
    output: Tensor
    unconditional: Tensor | None
    variance: Tensor | None
    multistep_buffer: Tensor | None
    dynamic_threshold: Tensor | None  # (B,), the l of each row
    table: Tensor
    table_row: Tensor
    rows: Tensor
    seed: int
    stream: int
    guidance: float
    clip: float  # 0: x0 is not clipped
    noisy: bool
    remember: bool


class ThresholdArguments(NamedTuple):
    """The arguments of `zoo::denoise_dynamic_threshold` in their order."""

    x: Tensor
    output: Tensor
    unconditional: Tensor | None
    table: Tensor
    table_row: Tensor
    guidance: float
    quantile: float
    max: float


def _coefficients(table: Tensor, index: Tensor) -> Tensor:
    """Row `index` of the table, (16,)."""
    inside = (index >= 0) & (index < len(table))
    row = table[index.clamp(0, len(table) - 1)]
    return torch.where(inside.unsqueeze(-1), row, float("nan")).squeeze(0)


def _guided(output: Tensor, unconditional: Tensor | None, guidance: float) -> Tensor:
    m = to_float32(output)
    if unconditional is None:
        return m
    return to_float32(unconditional) + guidance * (m - to_float32(unconditional))


def _per_row(t: Tensor, like: Tensor) -> Tensor:
    return t.reshape(-1, *[1] * (like.dim() - 1))


def _clipped(x0: Tensor, dynamic_threshold: Tensor | None, clip: float) -> Tensor:
    if dynamic_threshold is not None:
        bound = _per_row(dynamic_threshold, x0).to(x0)
        return torch.minimum(torch.maximum(x0, -bound), bound) / bound
    return x0.clamp(-clip, clip) if clip > 0 else x0


def _normals(a: StepArguments) -> Tensor:
    """z (B, *E)."""
    step = int(a.table_row.clamp(0, 2**32 - 1))
    numel = a.x[0].numel() if len(a.x) else 0
    return rng.normal(a.seed, a.rows, numel, a.stream, step, 0).reshape(a.x.shape)


def _std(C: Tensor, variance: Tensor | None) -> Tensor:
    if variance is None:
        return C[S]
    v = to_float32(variance)
    return C[S] * torch.exp(0.25 * ((v + 1) * C[LOG_VAR_MAX] + (1 - v) * C[LOG_VAR_MIN]))


def step(*args: Any) -> tuple[Tensor, Tensor]:
    """(out, h') of `StepArguments`, h' empty unless `remember`."""
    a = StepArguments(*args)
    x, m = to_float32(a.x), _guided(a.output, a.unconditional, a.guidance)
    C = _coefficients(a.table, a.table_row).to(x)
    x0 = _clipped(C[P_X] * x + C[P_M] * m, a.dynamic_threshold, a.clip)
    out = C[C_X0] * x0 + C[C_X] * x + C[C_M] * m
    if a.multistep_buffer is not None:
        out = out + C[C_H] * to_float32(a.multistep_buffer)
    if a.noisy:
        out = out + _std(C, a.variance) * _normals(a)
    kept = C[G_X0] * x0 + C[G_X] * x + C[G_M] * m if a.remember else x.new_empty(len(x), 0)
    return out.to(a.x.dtype), kept.to(a.x.dtype)


def dynamic_threshold(*args: Any) -> Tensor:
    """(B,) the quantile of each row's |x0|, interpolated linearly, within [1, max], of
    `ThresholdArguments`."""
    a = ThresholdArguments(*args)
    x, m = to_float32(a.x), _guided(a.output, a.unconditional, a.guidance)
    C = _coefficients(a.table, a.table_row).to(x)
    size = (C[P_X] * x + C[P_M] * m).abs().flatten(1)
    position = a.quantile * (size.shape[1] - 1)
    low = int(position)
    ordered = size.sort(-1).values
    below, above = ordered[:, low], ordered[:, min(low + 1, size.shape[1] - 1)]
    return (below + (above - below) * (position - low)).clamp(1.0, a.max)
