"""Sample arguments, costs, benchmark rows and compiled variants of the splines."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from zoo_kernels._examples import Bench, Case, Cost, Examples, Variant
from zoo_kernels.spline.reference import Bounds


def _draw(
    shape: tuple[int, ...], bins: int, generator: torch.Generator, *, scale: float, reach: float
) -> tuple[Tensor, Tensor]:
    x = reach * torch.randn(shape, generator=generator)
    return x, scale * torch.randn((*shape, 3 * bins - 1), generator=generator)


_BOUNDS = Bounds(-3.0, 3.0, 1e-3, 1e-3, 1e-3)


def _case(
    *shape: int,
    bins: int,
    scale: float = 1.0,
    bounds: Bounds = _BOUNDS,
    backward: bool = False,
) -> Case:
    def make(generator: torch.Generator, dtype: torch.dtype) -> tuple[Any, ...]:
        x, params = _draw(shape, bins, generator, scale=scale, reach=1.7)
        grads = [torch.randn(s, generator=generator) for s in (shape, shape[:1])]
        extra = (grads[0].to(dtype), grads[1]) if backward else ()
        return (x.to(dtype), params.to(dtype), *extra, *bounds, *[False] * backward)

    name = f"{'x'.join(map(str, shape))}-K{bins}-scale{scale:g}"
    return Case(name, make, rows=(0, 1, 2, 3) if backward else (0, 1))


def _cases(*, backward: bool = False) -> tuple[Case, ...]:
    return (
        _case(3, 37, bins=4, backward=backward),
        _case(1, 1, bins=2, backward=backward),
        _case(2, 2, 3, 5, bins=5, bounds=Bounds(-1.0, 2.0, 0.01, 0.02, 0.1), backward=backward),
        _case(2, 70, bins=8, scale=20.0, backward=backward),
    )


def _cost_values(x: Tensor, params: Tensor, *bounds: float) -> Cost:
    n, bins = x.numel(), (params.shape[-1] + 1) // 3
    moved = n * x.element_size() * (2 + params.shape[-1]) + 4 * len(x)
    return Cost(bytes=moved, flops=n * (60 * bins + 80))


def _cost_backward(x: Tensor, params: Tensor, *rest: Any) -> Cost:
    n, bins = x.numel(), (params.shape[-1] + 1) // 3
    moved = n * x.element_size() * (3 + 2 * params.shape[-1]) + 4 * len(x)
    return Cost(bytes=moved, flops=n * (70 * bins + 200))


def _bench(*shape: int, bins: int = 8) -> Callable[[torch.Generator], tuple[Any, ...]]:
    def make(generator: torch.Generator) -> tuple[Any, ...]:
        return *_draw(shape, bins, generator, scale=1.0, reach=1.2), *_BOUNDS

    return make


def _benches(name: str) -> tuple[Bench, ...]:
    def bench(*shape: int, backward: bool) -> Bench:
        peers = {
            peer: f"peers.spline:{peer.replace(' ', '_')}_{name}"
            for peer in (
                "nflows",
                "nflows compiled",
                "zuko",
                "zuko compiled",
                "reference compiled",
            )
        }
        case = f"{'x'.join(map(str, shape))} K=8{' forward+backward' * backward}"
        return Bench(case, _bench(*shape), peers, backward=backward)

    return (
        bench(64, 1536, backward=False),
        bench(64, 1536, backward=True),
        bench(512, 32, backward=False),
    )


_KERNEL = "zoo_kernels.spline._triton"
_POINTERS = {"p_x": "*fp32", "p_params": "*fp32"}
_INTEGERS = {"d": "i32", "d2": "i32", "blocks": "i32"}
_STRIDES = {"sb": "i64", "s1": "i64", "s2": "i64", "sk": "i64"}
_FLOATS = {name: "fp32" for name in ("left", "right", "min_w", "min_h", "min_d")}
_NUMBERS = {**_INTEGERS, **_STRIDES, **_FLOATS}
_GRAD_STRIDES = {"tb": "i64", "t1": "i64", "t2": "i64", "tk": "i64"}


def _value_variants(is_inverse: bool) -> tuple[Variant, ...]:
    signature = {"p_out": "*fp32", "p_ladj": "*fp32", **_POINTERS, **_NUMBERS}
    return tuple(
        Variant(
            f"{_KERNEL}:_values_kernel",
            signature,
            {"K": bins, "INVERSE": is_inverse, "BLOCK": 128},
            registers=96,
        )
        for bins in (8, 16)
    )


def _backward_variants() -> tuple[Variant, ...]:
    signature = {
        "p_gx": "*fp32",
        "p_gparams": "*fp32",
        **_POINTERS,
        "p_grad": "*fp32",
        "p_gladj": "*fp32",
        **_NUMBERS,
        **_GRAD_STRIDES,
    }
    return tuple(
        Variant(
            f"{_KERNEL}:_backward_kernel",
            signature,
            {"K": 8, "INVERSE": is_inverse, "BLOCK": 128},
            registers=128,
        )
        for is_inverse in (False, True)
    )


def forward() -> Examples:
    return Examples(_cases(), _cost_values, _benches("forward"), _value_variants(False))


def inverse() -> Examples:
    return Examples(_cases(), _cost_values, _benches("inverse"), _value_variants(True))


def backward() -> Examples:
    return Examples(_cases(backward=True), _cost_backward, variants=_backward_variants())
