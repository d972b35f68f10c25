"""A whole denoising loop with a small MLP as its network, in one call.

    x = mlp_sample(x, steps, modulation, weights, rows=rows, seed=0, stream=7)

For points in few dimensions a step of a network takes less time than calling its dozens of
operations. Equations and shapes: `reference.py`. float32 runs in C++ and in Triton.
"""

__all__ = ["OPS", "mlp_sample"]

import math

import torch
from torch import Tensor

from zoo_kernels._dispatch import lazy
from zoo_kernels._precision import only_float32
from zoo_kernels._spec import Impl, OpSpec
from zoo_kernels.denoise.tables import Steps
from zoo_kernels.mlp_sampler import _cpp, reference
from zoo_kernels.mlp_sampler.reference import MlpArguments


def mlp_sample(
    x: Tensor,
    steps: Steps,
    modulation: Tensor,
    weights: list[Tensor],
    *,
    rows: Tensor,
    seed: int = 0,
    stream: int = 0,
    clip: float | None = None,
) -> Tensor:
    """x (B, D) after all T steps of a solver's table, with a residual MLP as the network.

    - `steps`: the table, without a learned variance; `clip` bounds x0 to [-clip, clip].
    - `modulation`: the time's scales and shifts (T, L, 2, H) of each step and layer.
    - `weights`: W_in, b_in, then W, b, V, d of each layer, W_out, b_out, of x's dtype.
    - `rows`: the sample indices that name the noise, int64 (B,); with `seed` and `stream`.

    Raises ValueError, naming the argument, for shapes, dtypes and values that do not fit.
    """
    _check(x, steps, modulation, weights, rows)
    if clip is not None and not (math.isfinite(clip) and clip > 0):
        raise ValueError(f"clip must be positive and finite or None, not {clip!r}")
    out: Tensor = _SAMPLE(
        *MlpArguments(
            x=x,
            table=steps.table,
            modulation=modulation,
            weights=weights,
            rows=rows,
            seed=seed - 2**64 if seed >= 2**63 else seed,
            stream=stream,
            clip=clip or 0.0,
            noisy=steps.noisy,
            remember=steps.remembers,
        )
    )
    return out


def _check(
    x: Tensor, steps: Steps, modulation: Tensor, weights: list[Tensor], rows: Tensor
) -> None:
    if x.dim() != 2 or not x.dtype.is_floating_point:
        raise ValueError(f"x must be floating (B, D), not {x.dtype} {tuple(x.shape)}")
    if modulation.dim() != 4 or modulation.shape[0] != len(steps) or modulation.shape[2] != 2:
        raise ValueError(
            f"modulation must be ({len(steps)}, L, 2, H), not {tuple(modulation.shape)}"
        )
    D, L, H = x.shape[1], modulation.shape[1], modulation.shape[3]
    wanted = [(H, D), (H,), *[(H, H), (H,)] * (2 * L), (D, H), (D,)]
    if [tuple(w.shape) for w in weights] != wanted:
        raise ValueError(
            f"weights must have the shapes {wanted}, not {[tuple(w.shape) for w in weights]}"
        )
    if any(t.dtype != x.dtype or t.device != x.device for t in (modulation, *weights)):
        raise ValueError(f"modulation and weights must be {x.dtype} on {x.device} like x")
    if rows.dtype != torch.int64 or rows.shape != x.shape[:1]:
        raise ValueError(
            f"rows must be int64 of shape ({len(x)},), not {rows.dtype} {tuple(rows.shape)}"
        )
    if steps.learned_variance:
        raise ValueError("this network has no learned variance")


_SAMPLE = OpSpec(
    name="mlp_sample",
    schema="(Tensor x, Tensor table, Tensor modulation, Tensor[] weights, Tensor rows, int seed, "
    "int stream, float clip, bool noisy, bool remember) -> Tensor",
    reference=reference.sample,
    fake=lambda x, *rest: x.new_empty(x.shape),
    examples=lazy("zoo_kernels.mlp_sampler._cases:mlp_sample"),
    tolerances={torch.float32: (2e-5, 2e-5)},
    cpp=Impl(_cpp.sample, only_float32, needs="mlp_sample"),
    triton=Impl(
        lazy("zoo_kernels.mlp_sampler._triton:sample"),
        lazy("zoo_kernels.mlp_sampler._triton:verify"),
    ),
    differentiable=False,
)
OPS = (_SAMPLE,)
