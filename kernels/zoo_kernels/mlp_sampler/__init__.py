"""A whole denoising loop with a small MLP as its network, in one call.

    x = mlp_sample(x, steps, modulation, weights, rows=rows, seed=0, stream=7)

For points in few dimensions a step of a network takes less time than calling its dozens of
operations. Equations and shapes: `reference.py`. float32 runs in C++; there is no Triton kernel.
"""

__all__ = ["OPS", "mlp_sample"]

import math
from typing import Any

import torch
from torch import Tensor

from zoo_kernels._spec import Bench, Case, Cost, Impl, OpSpec
from zoo_kernels.denoise.tables import Steps, ddim, ddpm, dpm_solver_pp
from zoo_kernels.mlp_sampler import _cpp, reference


def mlp_sample(
    x: Tensor, steps: Steps, modulation: Tensor, weights: list[Tensor], *, rows: Tensor,
    seed: int = 0, stream: int = 0, clip: float | None = None,
) -> Tensor:  # fmt: skip
    """x (B, D) after all of the T steps of a table; modulation (T, L, 2, H)."""
    _check(x, steps, modulation, weights, rows)
    if clip is not None and not (math.isfinite(clip) and clip > 0):
        raise ValueError(f"clip must be positive and finite or None, not {clip!r}")
    signed = seed - 2**64 if seed >= 2**63 else seed
    out: Tensor = _SAMPLE(
        x, steps.table, modulation, weights, rows, signed, stream, clip or 0.0,
        steps.noisy, steps.remembers,
    )  # fmt: skip
    return out


def _check(
    x: Tensor, steps: Steps, modulation: Tensor, weights: list[Tensor], rows: Tensor
) -> None:
    if x.dim() != 2 or not x.dtype.is_floating_point:
        raise ValueError(f"x must be floating (B, D), not {x.dtype} {tuple(x.shape)}")
    if modulation.dim() != 4 or modulation.shape[0] != len(steps) or modulation.shape[2] != 2:
        raise ValueError(f"modulation must be ({len(steps)}, L, 2, H), "
                         f"not {tuple(modulation.shape)}")  # fmt: skip
    D, L, H = x.shape[1], modulation.shape[1], modulation.shape[3]
    wanted = [(H, D), (H,), *[(H, H), (H,)] * (2 * L), (D, H), (D,)]
    if [tuple(w.shape) for w in weights] != wanted:
        raise ValueError(f"weights must have the shapes {wanted}, "
                         f"not {[tuple(w.shape) for w in weights]}")  # fmt: skip
    if any(t.dtype != x.dtype or t.device != x.device for t in (modulation, *weights)):
        raise ValueError(f"modulation and weights must be {x.dtype} on {x.device} like x")
    if rows.dtype != torch.int64 or rows.shape != x.shape[:1]:
        raise ValueError(f"rows must be int64 of shape ({len(x)},), "
                         f"not {rows.dtype} {tuple(rows.shape)}")  # fmt: skip
    if steps.learned_variance:
        raise ValueError("this network has no learned variance")


def _arguments(
    generator: torch.Generator, B: int, D: int, H: int, L: int, steps: Steps, clip: float
) -> tuple[Any, ...]:
    def normal(*shape: int, scale: float = 0.3) -> Tensor:
        return torch.randn(shape, generator=generator) * scale

    layer = [(H, H), (H,), (H, H), (H,)] * L
    shapes: list[tuple[int, ...]] = [(H, D), (H,), *layer, (D, H), (D,)]
    weights = [normal(*s, scale=s[-1] ** -0.5) for s in shapes]
    rows = torch.arange(B) + 5
    modulation = normal(len(steps), L, 2, H)
    return (normal(B, D, scale=1.0), steps.table, modulation, weights, rows, 2**40 + 3, 7, clip,
            steps.noisy, steps.remembers)  # fmt: skip


def _path(n: int) -> tuple[Tensor, Tensor]:
    angle = torch.linspace(1.4, 0.0, n + 1, dtype=torch.float64)
    return angle.cos(), angle.sin()


def _case(name: str, B: int, D: int, H: int, L: int, steps: Steps, clip: float = 0.0) -> Case:
    def make(generator: torch.Generator, dtype: torch.dtype) -> tuple[Any, ...]:
        x, table, modulation, weights, *rest = _arguments(generator, B, D, H, L, steps, clip)
        return x.to(dtype), table, modulation.to(dtype), [w.to(dtype) for w in weights], *rest

    return Case(name, make, rows=(0, 4))


def _bench(B: int) -> Bench:
    def make(generator: torch.Generator) -> tuple[Any, ...]:
        return _arguments(generator, B, 2, 128, 3, ddpm(*_path(50)), 0.0)

    return Bench(f"2-128x3 50 steps B={B}", make)


def _cost(x: Tensor, table: Tensor, modulation: Tensor, weights: list[Tensor], *rest: Any) -> Cost:
    matrices = sum(w.numel() for w in weights if w.dim() == 2)
    moved = 2 * x.numel() + modulation.numel() + sum(w.numel() for w in weights)
    return Cost(moved * x.element_size(), 2 * matrices * len(x) * len(table))


_SAMPLE = OpSpec(
    name="mlp_sample",
    schema="(Tensor x, Tensor table, Tensor modulation, Tensor[] weights, Tensor rows, int seed, "
    "int stream, float clip, bool noisy, bool remember) -> Tensor",
    reference=reference.sample,
    fake=lambda x, *rest: x.new_empty(x.shape),
    cases=(
        _case("ancestral", 3, 2, 32, 2, ddpm(*_path(6))),
        _case("clipped", 7, 3, 20, 1, ddim(*_path(4), prediction="v"), clip=1.0),
        _case("multistep", 2, 17, 48, 3, dpm_solver_pp(*_path(5), prediction="x0")),
        _case("groups", 50, 2, 16, 1, ddim(*_path(3), eta=1.0)),
        _case("one", 1, 1, 1, 1, ddpm(*_path(1))),
    ),
    tolerances={torch.float32: (2e-5, 2e-5)},
    cost=_cost,
    cpp=Impl(_cpp.sample, _cpp.verify, needs="mlp_sample"),
    differentiable=False,
    bench=(_bench(1), _bench(64)),
)  # fmt: skip
OPS = (_SAMPLE,)
