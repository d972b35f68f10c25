"""One denoising step of DDPM, DDIM, DPM-Solver++(2M), Euler, Heun or flow matching, in one pass.

    steps = denoise.ddim(alpha, sigma, prediction="v")       # a solver is a table: see tables.py
    buffer = None
    for i in range(len(steps)):
        x, buffer = denoise.step(x, network(x), steps, i, multistep_buffer=buffer)

`index` may be an int64 tensor of shape (1,) on x's device, so that a whole loop can be captured:
nothing is read back. The noise is `rng.normal(seed, rows, ..., stream=stream, step=index)`: a
row's draws do not depend on its batch, its position in it, or the device. Not differentiable: it
is for sampling. The equations: `reference.py`.
"""

__all__ = ["OPS", "PREDICTIONS", "Steps", "ddim", "ddpm", "dpm_solver_pp", "euler", "heun", "step"]

import math
from typing import Any

import torch
from torch import Tensor

from zoo_kernels import _extension
from zoo_kernels._alloc import alloc
from zoo_kernels._dispatch import lazy
from zoo_kernels._precision import not_float64, to_float32
from zoo_kernels._renamed import renamed_argument
from zoo_kernels._spec import Impl, OpSpec
from zoo_kernels.denoise import reference
from zoo_kernels.denoise.reference import StepArguments, ThresholdArguments
from zoo_kernels.denoise.tables import (
    PREDICTIONS,
    Steps,
    ddim,
    ddpm,
    dpm_solver_pp,
    euler,
    heun,
)


@renamed_argument("history", "multistep_buffer")
def step(
    x: Tensor,
    output: Tensor,
    steps: Steps,
    index: int | Tensor,
    *,
    rows: Tensor | None = None,
    seed: int = 0,
    stream: int = 0,
    unconditional: Tensor | None = None,
    guidance: float = 1.0,
    variance: Tensor | None = None,
    multistep_buffer: Tensor | None = None,
    clip: float | None = None,
    threshold: tuple[float, float] | None = None,
) -> tuple[Tensor, Tensor | None]:
    """(x after step `index`, what to pass as `multistep_buffer` at the next step, or None).

    x, and what has its shape and dtype, is (B, *E); it may be a slice of a bigger output.

    - `output`: the network's. With `unconditional`, an output without the condition, it becomes
      unconditional + guidance (output - unconditional) (Ho & Salimans, 2022).
    - `index`: the row of the table, an int or int64 (1,); a tensor outside the table gives NaN.
    - `rows`: the sample indices that name the noise, int64 (B,), by default 0..B-1; with `seed` in
      [-2^63, 2^64) and `stream` in [0, 2^32).
    - `variance`: the v in [-1, 1] of a learned variance (Nichol & Dhariwal, 2021).
    - `clip`: bounds x0 to [-clip, clip]. `threshold`: (quantile, max), dynamic thresholding to the
      quantile of a row's |x0| within [1, max] (Saharia et al., 2022).

    Raises ValueError, naming the argument, for shapes, dtypes and values that do not fit.
    """
    same = {"output": output, "unconditional": unconditional, "variance": variance}
    _check_tensors(x, same | {"multistep_buffer": multistep_buffer})
    where = _index(index, steps, x)
    _check_bounds(clip, threshold)
    _check_options(steps, variance, guidance, seed, stream)
    rows = torch.arange(len(x), device=x.device) if rows is None else rows
    if rows.dtype != torch.int64 or rows.shape != x.shape[:1]:
        found = f"{rows.dtype} {tuple(rows.shape)}"
        raise ValueError(f"rows must be int64 of shape ({len(x)},), not {found}")
    bound = None
    if threshold is not None:
        quantile, max = threshold
        bound = _THRESHOLD(
            *ThresholdArguments(
                x=x,
                output=output,
                unconditional=unconditional,
                table=steps.table,
                table_row=where,
                guidance=guidance,
                quantile=quantile,
                max=max,
            )
        )
    out, kept = _STEP(
        *StepArguments(
            x=x,
            output=output,
            unconditional=unconditional,
            variance=variance,
            multistep_buffer=multistep_buffer,
            dynamic_threshold=bound,
            table=steps.table,
            table_row=where,
            rows=rows,
            seed=seed - 2**64 if seed >= 2**63 else seed,
            stream=stream,
            guidance=guidance,
            clip=clip or 0.0,
            noisy=steps.noisy,
            remember=steps.remembers,
        )
    )
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
        raise ValueError(
            f"steps must be float32 on {x.device} like x (steps.to(device)), not "
            f"{steps.table.dtype} on {steps.table.device}"
        )
    if isinstance(index, int):
        if not 0 <= index < len(steps):
            raise ValueError(f"index must be in [0, {len(steps)}), not {index}")
        return torch.tensor([index], device=x.device)
    if index.dtype != torch.int64 or index.shape != (1,) or index.device != x.device:
        raise ValueError(
            f"index must be an int or int64 of shape (1,) on {x.device}, "
            f"not {index.dtype} {tuple(index.shape)} on {index.device}"
        )
    return index


def _check_bounds(clip: float | None, threshold: tuple[float, float] | None) -> None:
    if clip is not None and not (math.isfinite(clip) and clip > 0):
        raise ValueError(f"clip must be positive and finite or None, not {clip!r}")
    if threshold is None:
        return
    if clip is not None:
        raise ValueError("threshold and clip both bound x0; pass one of them")
    quantile, max = threshold
    if not (0 <= quantile <= 1 and max >= 1):
        raise ValueError(f"threshold must be (quantile in [0, 1], max >= 1), not {threshold!r}")


def _check_options(
    steps: Steps, variance: Tensor | None, guidance: float, seed: int, stream: int
) -> None:
    if steps.learned_variance != (variance is not None):
        needs = "needs" if steps.learned_variance else "does not take"
        raise ValueError(f"variance: this solver {needs} a learned variance")
    if not math.isfinite(guidance):
        raise ValueError(f"guidance must be finite, not {guidance!r}")
    if not -(2**63) <= seed < 2**64 or not 0 <= stream < 2**32:
        raise ValueError(
            f"seed must be in [-2^63, 2^64) and stream in [0, 2^32), not {seed!r}, {stream!r}"
        )


def flat_rows(t: Tensor | None, like: Tensor) -> Tensor:
    """(B, D) with unit stride in D, a view where strides allow; empty for None."""
    if t is None:
        return like.new_empty(0)
    flat = t.reshape(t.shape[0], math.prod(t.shape[1:]))
    return flat if flat.stride(1) == 1 or flat.shape[1] == 1 else flat.contiguous()


def _flat_float32(t: Tensor | None, like: Tensor) -> Tensor:
    return flat_rows(None if t is None else to_float32(t), like)


def _step_cpp(*args: Any) -> tuple[Tensor, Tensor]:
    a = StepArguments(*args)
    x = flat_rows(to_float32(a.x), a.x).contiguous()
    out = alloc(a.x.shape, like=x)
    kept = alloc(a.x.shape if a.remember else (len(x), 0), like=x)
    if x.numel():
        _extension.cpp("denoise_step")(
            out,
            kept,
            x,
            _flat_float32(a.output, x),
            _flat_float32(a.unconditional, x),
            _flat_float32(a.variance, x),
            _flat_float32(a.multistep_buffer, x).contiguous(),
            x.new_empty(0) if a.dynamic_threshold is None else a.dynamic_threshold.contiguous(),
            a.table.contiguous(),
            a.table_row,
            a.rows.contiguous(),
            a.seed,
            a.stream,
            a.guidance,
            a.clip,
            a.noisy,
        )
    return out.to(a.x.dtype), kept.to(a.x.dtype)


def _dynamic_threshold_cpp(*args: Any) -> Tensor:
    a = ThresholdArguments(*args)
    x = flat_rows(to_float32(a.x), a.x).contiguous()
    out = alloc((len(x),), like=x)
    if x.numel():
        m, u = _flat_float32(a.output, x), _flat_float32(a.unconditional, x)
        _extension.cpp("denoise_dynamic_threshold")(
            out, x, m, u, a.table.contiguous(), a.table_row, a.guidance, a.quantile, a.max
        )
    return out


def _fake_step(*args: Any) -> tuple[Tensor, Tensor]:
    a = StepArguments(*args)
    return a.x.new_empty(a.x.shape), a.x.new_empty(a.x.shape if a.remember else (a.x.shape[0], 0))


def _fake_threshold(x: Tensor, *rest: Any) -> Tensor:
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    return x.new_empty(x.shape[:1], dtype=wide)


_STEP = OpSpec(
    name="denoise_step",
    schema="(Tensor x, Tensor output, Tensor? unconditional, Tensor? variance, "
    "Tensor? multistep_buffer, Tensor? dynamic_threshold, Tensor table, Tensor table_row, "
    "Tensor rows, int seed, int stream, float guidance, float clip, bool noisy, bool remember)"
    " -> (Tensor, Tensor)",
    reference=reference.step,
    fake=_fake_step,
    examples=lazy("zoo_kernels.denoise._cases:step"),
    tolerances={
        torch.float32: (2e-6, 2e-6),
        torch.bfloat16: (8e-3, 1e-3),
        torch.float16: (1e-3, 1e-4),
    },
    cpp=Impl(_step_cpp, not_float64, needs="denoise_step"),
    triton=Impl(lazy("zoo_kernels.denoise._triton:step"), not_float64),
    differentiable=False,
)
_THRESHOLD = OpSpec(
    name="denoise_dynamic_threshold",
    schema="(Tensor x, Tensor output, Tensor? unconditional, Tensor table, Tensor table_row, "
    "float guidance, float quantile, float max) -> Tensor",
    reference=reference.dynamic_threshold,
    fake=_fake_threshold,
    examples=lazy("zoo_kernels.denoise._cases:dynamic_threshold"),
    tolerances={torch.float32: (2e-6, 2e-6), torch.bfloat16: (1e-5, 1e-5)},
    cpp=Impl(_dynamic_threshold_cpp, not_float64, needs="denoise_dynamic_threshold"),
    triton=Impl(lazy("zoo_kernels.denoise._triton:dynamic_threshold"), not_float64),
    differentiable=False,
)
OPS = (_STEP, _THRESHOLD)
