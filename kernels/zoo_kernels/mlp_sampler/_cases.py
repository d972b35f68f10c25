"""Sample arguments, costs and benchmark rows of the MLP sampler."""

from typing import Any

import torch
from torch import Tensor

from zoo_kernels._examples import Bench, Case, Cost, Examples, Variant, positions
from zoo_kernels.denoise.tables import Steps, ddim, ddpm, dpm_solver_pp
from zoo_kernels.mlp_sampler.reference import MlpArguments


def _arguments(
    generator: torch.Generator, B: int, D: int, H: int, L: int, steps: Steps, clip: float
) -> MlpArguments:
    def normal(*shape: int, scale: float = 0.3) -> Tensor:
        return torch.randn(shape, generator=generator) * scale

    layer = [(H, H), (H,), (H, H), (H,)] * L
    shapes: list[tuple[int, ...]] = [(H, D), (H,), *layer, (D, H), (D,)]
    weights = [normal(*s, scale=s[-1] ** -0.5) for s in shapes]
    return MlpArguments(
        modulation=normal(len(steps), L, 2, H),
        x=normal(B, D, scale=1.0),
        table=steps.table,
        weights=weights,
        rows=torch.arange(B) + 5,
        seed=2**40 + 3,
        stream=7,
        clip=clip,
        noisy=steps.noisy,
        remember=steps.remembers,
    )


def _path(n: int) -> tuple[Tensor, Tensor]:
    angle = torch.linspace(1.4, 0.0, n + 1, dtype=torch.float64)
    return angle.cos(), angle.sin()


def _case(name: str, B: int, D: int, H: int, L: int, steps: Steps, clip: float = 0.0) -> Case:
    def make(generator: torch.Generator, dtype: torch.dtype) -> tuple[Any, ...]:
        a = _arguments(generator, B, D, H, L, steps, clip)
        weights = [w.to(dtype) for w in a.weights]
        modulation = a.modulation.to(dtype)
        return tuple(a._replace(x=a.x.to(dtype), modulation=modulation, weights=weights))

    return Case(name, make, rows=positions(MlpArguments, "x", "rows"))


def _bench(B: int) -> Bench:
    def make(generator: torch.Generator) -> tuple[Any, ...]:
        return tuple(_arguments(generator, B, 2, 128, 3, ddpm(*_path(50)), 0.0))

    return Bench(f"2-128x3 50 steps B={B}", make)


def _cost(*args: Any) -> Cost:
    a = MlpArguments(*args)
    matrices = sum(w.numel() for w in a.weights if w.dim() == 2)
    moved = 2 * a.x.numel() + a.modulation.numel() + sum(w.numel() for w in a.weights)
    return Cost(moved * a.x.element_size(), 2 * matrices * len(a.x) * len(a.table))


def _variant(units: int) -> Variant:
    pointers = {name: "*fp32" for name in ("p_x", "p_table", "p_modulation", "p_w", "p_scratch")}
    sizes = {name: "i32" for name in ("batch", "d", "units", "layers", "n_steps")}
    return Variant(
        "zoo_kernels.mlp_sampler._triton:_sample_kernel",
        {**pointers, "p_rows": "*i64", **sizes, "seed": "i64", "stream": "i32", "clip": "fp32"},
        {"D": 16, "H": units, "BT": 16, "CLIP": True, "NOISY": True, "REMEMBER": True},
        registers=255,
        maxnreg=255,
        warps=8,
        stages=1,
        deterministic=True,
        fused=20000,
    )


def mlp_sample() -> Examples:
    return Examples(
        cases=(
            _case("ancestral", 3, 2, 32, 2, ddpm(*_path(6))),
            _case("clipped", 7, 3, 20, 1, ddim(*_path(4), prediction="v"), clip=1.0),
            _case("multistep", 2, 17, 48, 3, dpm_solver_pp(*_path(5), prediction="x0")),
            _case("groups", 50, 2, 16, 1, ddim(*_path(3), eta=1.0)),
            _case("one", 1, 1, 1, 1, ddpm(*_path(1))),
        ),
        cost=_cost,
        bench=(_bench(1), _bench(64)),
        variants=(_variant(128), _variant(256)),
    )
