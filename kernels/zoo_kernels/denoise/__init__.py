"""One denoising step of DDPM, DDIM, DPM-Solver++(2M), Euler, Heun or flow matching, in one pass.

    steps = denoise.ddim(alpha, sigma, prediction="v")       # a solver is a table: see tables.py
    history = None
    for i in range(len(steps)):
        x, history = denoise.step(x, network(x), steps, i, history=history)

`index` may be an int64 tensor of shape (1,) on x's device, so that a whole loop can be captured:
nothing is read back. `unconditional` and `guidance` combine two outputs (Ho & Salimans, 2022,
u + guidance (output - u)); `clip` bounds x0; `threshold` does so by Imagen's quantile. The noise
is `rng.normal(seed, rows, ..., stream=stream, step=index)`: a row's draws do not depend on its
batch, its place in it, or the device. Not differentiable: it is for sampling.
"""

__all__ = ["OPS", "PREDICTIONS", "Steps", "ddim", "ddpm", "dpm_solver_pp", "euler", "heun", "step"]

import math
from typing import Any

import torch
from torch import Tensor

from zoo_kernels import _extension
from zoo_kernels._alloc import alloc
from zoo_kernels._dispatch import Verdict, lazy
from zoo_kernels._spec import Impl, OpSpec
from zoo_kernels.denoise import reference
from zoo_kernels.denoise.tables import (
    PREDICTIONS,
    Steps,
    ddim,
    ddpm,
    dpm_solver_pp,
    euler,
    heun,
)

_HALVES = (torch.float16, torch.bfloat16)


def step(
    x: Tensor, output: Tensor, steps: Steps, index: int | Tensor, *, rows: Tensor | None = None,
    seed: int = 0, stream: int = 0, unconditional: Tensor | None = None, guidance: float = 1.0,
    variance: Tensor | None = None, history: Tensor | None = None, clip: float | None = None,
    threshold: tuple[float, float] | None = None,
) -> tuple[Tensor, Tensor | None]:  # fmt: skip
    """(x after step `index`, what to pass as `history` at the next, or None).

    `output`, `unconditional`, `variance` have x's shape (B, *E) and may be slices of a bigger
    output; `variance` is the v in [-1, 1] of a learned one. `threshold` is (quantile, most).
    `rows` names the samples for the noise, int64 (B,), default 0..B-1.
    """
    _check_tensors(x, {"output": output, "unconditional": unconditional, "variance": variance,
                       "history": history})  # fmt: skip
    where = _index(index, steps, x)
    _check_options(steps, variance, clip, threshold, guidance, seed, stream)
    rows = torch.arange(len(x), device=x.device) if rows is None else rows
    if rows.dtype != torch.int64 or rows.shape != x.shape[:1]:
        raise ValueError(f"rows must be int64 of shape ({len(x)},), "
                         f"not {rows.dtype} {tuple(rows.shape)}")  # fmt: skip
    limit = None
    if threshold is not None:
        limit = _LIMIT(x, output, unconditional, steps.table, where, guidance, *threshold)
    signed = seed - 2**64 if seed >= 2**63 else seed
    out, kept = _STEP(
        x, output, unconditional, variance, history, limit, steps.table, where, rows,
        signed, stream, guidance, clip or 0.0, steps.noisy, steps.remembers,
    )  # fmt: skip
    return out, kept if steps.remembers else None


def _check_tensors(x: Tensor, others: dict[str, Tensor | None]) -> None:
    if x.dim() < 1 or not x.dtype.is_floating_point:
        raise ValueError(f"x must be floating point (B, ...), not {x.dtype} {tuple(x.shape)}")
    for name, t in others.items():
        if t is not None and (t.shape != x.shape or t.dtype != x.dtype or t.device != x.device):
            raise ValueError(
                f"{name} must be {x.dtype} {tuple(x.shape)} on {x.device} like x, "
                f"not {t.dtype} {tuple(t.shape)} on {t.device}"
            )


def _index(index: int | Tensor, steps: Steps, x: Tensor) -> Tensor:
    if steps.table.device != x.device or steps.table.dtype != torch.float32:
        raise ValueError(f"steps must be float32 on {x.device} like x (steps.to(device)), not "
                         f"{steps.table.dtype} on {steps.table.device}")  # fmt: skip
    if isinstance(index, int):
        if not 0 <= index < len(steps):
            raise ValueError(f"index must be in [0, {len(steps)}), not {index}")
        return torch.tensor([index], device=x.device)
    if index.dtype != torch.int64 or index.shape != (1,) or index.device != x.device:
        raise ValueError(f"index must be an int or int64 of shape (1,) on {x.device}, "
                         f"not {index.dtype} {tuple(index.shape)} on {index.device}")  # fmt: skip
    return index


def _check_options(
    steps: Steps, variance: Tensor | None, clip: float | None,
    threshold: tuple[float, float] | None, guidance: float, seed: int, stream: int,
) -> None:  # fmt: skip
    if steps.learned_variance != (variance is not None):
        needs = "needs" if steps.learned_variance else "does not take"
        raise ValueError(f"variance: this solver {needs} a learned variance")
    if clip is not None and not (math.isfinite(clip) and clip > 0):
        raise ValueError(f"clip must be positive and finite or None, not {clip!r}")
    if threshold is not None and clip is not None:
        raise ValueError("threshold and clip both bound x0; pass one of them")
    if threshold is not None and not (0 <= threshold[0] <= 1 and threshold[1] >= 1):
        raise ValueError(f"threshold must be (quantile in [0, 1], most >= 1), not {threshold!r}")
    if not math.isfinite(guidance):
        raise ValueError(f"guidance must be finite, not {guidance!r}")
    if not -(2**63) <= seed < 2**64 or not 0 <= stream < 2**32:
        raise ValueError(f"seed must be in [-2^63, 2^64) and stream in [0, 2^32), "
                         f"not {seed!r}, {stream!r}")  # fmt: skip


def flat_rows(t: Tensor | None, like: Tensor) -> Tensor:
    """(B, D) with unit stride in D, a view where strides allow; empty for None."""
    if t is None:
        return like.new_empty(0)
    flat = t.reshape(t.shape[0], math.prod(t.shape[1:]))
    return flat if flat.stride(1) == 1 or flat.shape[1] == 1 else flat.contiguous()


def _single(t: Tensor | None) -> Tensor | None:
    return t.float() if t is not None and t.dtype in _HALVES else t


def _step_cpp(
    x: Tensor, output: Tensor, unconditional: Tensor | None, variance: Tensor | None,
    history: Tensor | None, limit: Tensor | None, table: Tensor, index: Tensor, rows: Tensor,
    seed: int, stream: int, guidance: float, clip: float, noisy: bool, remember: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    wide = flat_rows(_single(x), x).contiguous()
    out = alloc(x.shape, like=wide)
    kept = alloc(x.shape if remember else (len(x), 0), like=wide)
    if x.numel():
        parts = [flat_rows(_single(t), wide) for t in (output, unconditional, variance, history)]
        parts[3] = parts[3].contiguous()
        bound = wide.new_empty(0) if limit is None else limit.contiguous()
        _extension.cpp("denoise_step")(
            out, kept, wide, *parts, bound, table.contiguous(), index, rows.contiguous(),
            seed, stream, guidance, clip, noisy,
        )  # fmt: skip
    return out.to(x.dtype), kept.to(x.dtype)


def _limit_cpp(
    x: Tensor, output: Tensor, unconditional: Tensor | None, table: Tensor, index: Tensor,
    guidance: float, quantile: float, most: float,
) -> Tensor:  # fmt: skip
    wide = flat_rows(_single(x), x).contiguous()
    out = alloc((len(x),), like=wide)
    if x.numel():
        parts = [flat_rows(_single(t), wide) for t in (output, unconditional)]
        _extension.cpp("denoise_limit")(
            out, wide, *parts, table.contiguous(), index, guidance, quantile, most
        )
    return out


def _not_double(x: Tensor, *rest: Any) -> Verdict:
    return x.dtype != torch.float64, "float64 is for the reference"


def _fake_step(x: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), x.new_empty(x.shape if rest[-1] else (x.shape[0], 0))


def _fake_limit(x: Tensor, *rest: Any) -> Tensor:
    return x.new_empty(x.shape[:1], dtype=torch.float64 if x.dtype == torch.float64 else None
                       if x.dtype == torch.float32 else torch.float32)  # fmt: skip


_STEP = OpSpec(
    name="denoise_step",
    schema="(Tensor x, Tensor output, Tensor? unconditional, Tensor? variance, Tensor? history, "
           "Tensor? limit, Tensor table, Tensor index, Tensor rows, int seed, int stream, "
           "float guidance, float clip, bool noisy, bool remember) -> (Tensor, Tensor)",
    reference=reference.step,
    fake=_fake_step,
    examples=lazy("zoo_kernels.denoise._cases:step"),
    tolerances={torch.float32: (2e-6, 2e-6), torch.bfloat16: (8e-3, 1e-3),
                torch.float16: (1e-3, 1e-4)},
    cpp=Impl(_step_cpp, _not_double, needs="denoise_step"),
    triton=Impl(lazy("zoo_kernels.denoise._triton:step"), _not_double),
    differentiable=False,
)  # fmt: skip
_LIMIT = OpSpec(
    name="denoise_limit",
    schema="(Tensor x, Tensor output, Tensor? unconditional, Tensor table, Tensor index, "
    "float guidance, float quantile, float most) -> Tensor",
    reference=reference.limit,
    fake=_fake_limit,
    examples=lazy("zoo_kernels.denoise._cases:limit"),
    tolerances={torch.float32: (2e-6, 2e-6), torch.bfloat16: (1e-5, 1e-5)},
    cpp=Impl(_limit_cpp, _not_double, needs="denoise_limit"),
    triton=Impl(lazy("zoo_kernels.denoise._triton:limit"), _not_double),
    differentiable=False,
)
OPS = (_STEP, _LIMIT)
