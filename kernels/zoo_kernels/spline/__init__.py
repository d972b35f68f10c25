"""Rational-quadratic splines with linear tails, elementwise, with the log-determinant of a row.

    y, ladj = forward(x, params, left=-3.0, right=3.0)         # x (B, *E), params (B, *E, 3K - 1)
    x, back = inverse(y, params, left=-3.0, right=3.0)         # back = -ladj (B,)

The last dimension of `params` holds K unnormalised widths, K heights and K - 1 inner derivatives;
it need not be the last in memory: `h.unflatten(1, (C, -1)).movedim(2, -1)` of a convolution's
(B, C (3K - 1), H, W) is read in place. Half precision is a storage format: arithmetic and ladj
are float32 (float64 for float64). Only the inputs are saved for the backward.

Neural Spline Flows (Durkan, Bekasov, Murray, Papamakarios, 2019), https://arxiv.org/abs/1906.04032
"""

__all__ = ["MAX_BINS", "OPS", "forward", "inverse"]

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from zoo_kernels import _extension
from zoo_kernels._alloc import alloc, alloc_like
from zoo_kernels._bijection import as_lines, bijection, not_double, single
from zoo_kernels._dispatch import Verdict
from zoo_kernels._spec import Bench, Case, Cost, Variant
from zoo_kernels.spline import reference

MAX_BINS = 128
_EVENT = slice(1, -1)


def forward(
    x: Tensor, params: Tensor, *, left: float = -3.0, right: float = 3.0,
    min_width: float = 1e-3, min_height: float = 1e-3, min_derivative: float = 1e-3,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """(y, ladj): ladj (B,) is log |det dy/dx| in nats."""
    limits = (left, right, min_width, min_height, min_derivative)
    _check(x, params, limits)
    pair: tuple[Tensor, Tensor] = _FORWARD(x, params, *limits)
    return pair


def inverse(
    y: Tensor, params: Tensor, *, left: float = -3.0, right: float = 3.0,
    min_width: float = 1e-3, min_height: float = 1e-3, min_derivative: float = 1e-3,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """(x, ladj): ladj (B,) is log |det dx/dy| in nats."""
    limits = (left, right, min_width, min_height, min_derivative)
    _check(y, params, limits)
    pair: tuple[Tensor, Tensor] = _INVERSE(y, params, *limits)
    return pair


def _check(x: Tensor, params: Tensor, limits: tuple[float, ...]) -> None:
    _check_tensors(x, params)
    left, right, min_width, min_height, min_derivative = limits
    if not (math.isfinite(left) and math.isfinite(right) and left < right):
        raise ValueError(f"left must be less than right, both finite, not {left!r}, {right!r}")
    bins = (params.shape[-1] + 1) // 3
    for name, least in {"min_width": min_width, "min_height": min_height}.items():
        if not 0 < least * bins < 1:
            raise ValueError(f"{name} must be in (0, 1 / {bins} bins), not {least!r}")
    if not (math.isfinite(min_derivative) and min_derivative > 0):
        raise ValueError(f"min_derivative must be positive, not {min_derivative!r}")


def _check_tensors(x: Tensor, params: Tensor) -> None:
    if x.dim() < 1 or not x.dtype.is_floating_point:
        raise ValueError(f"x must be floating point (B, ...), not {x.dtype} {tuple(x.shape)}")
    n = params.shape[-1] if params.dim() else 0
    if params.shape[:-1] != x.shape or (n + 1) % 3 or not 2 <= (n + 1) // 3 <= MAX_BINS:
        wanted = f"({', '.join(map(str, x.shape))}, 3 K - 1) with K in [2, {MAX_BINS}]"
        raise ValueError(f"params must have shape {wanted}, not {tuple(params.shape)}")
    if params.dtype != x.dtype or params.device != x.device:
        raise ValueError(f"params must be {x.dtype} on {x.device} like x, "
                         f"not {params.dtype} on {params.device}")  # fmt: skip


def collapsed(params: Tensor) -> Tensor:
    """params (B, *E, P) as (B, D1, D2, P), by strides where they allow, else a copy."""
    return as_lines(params, _EVENT)


def _values_cpp(is_inverse: bool) -> Callable[..., tuple[Tensor, Tensor]]:
    def run(x: Tensor, params: Tensor, *limits: float) -> tuple[Tensor, Tensor]:
        wide, p = single(x, params)
        out, each = alloc(x.shape, like=wide), alloc(x.shape, like=wide)
        ladj = alloc(x.shape[:1], like=wide)
        if params.numel():
            args = (out, ladj, each, wide.contiguous(), collapsed(p), *limits, is_inverse)
            _extension.cpp("spline_values")(*args)
        return out.to(x.dtype), ladj if x.numel() else ladj.zero_()

    return run


def _backward_cpp(
    x: Tensor, params: Tensor, grad: Tensor, grad_ladj: Tensor, *rest: Any
) -> tuple[Tensor, Tensor]:
    wide, p, g = single(x, params, grad)
    grad_x, grad_params = alloc(x.shape, like=wide), alloc_like(p)
    if params.numel():
        _extension.cpp("spline_backward")(
            grad_x, collapsed(grad_params), wide.contiguous(), collapsed(p), g.contiguous(),
            grad_ladj.float().contiguous(), *rest,
        )  # fmt: skip
    return grad_x.to(x.dtype), grad_params.to(params.dtype)


def _few_bins(x: Tensor, params: Tensor, *rest: Any) -> Verdict:
    if params.shape[-1] > 3 * 64 - 1:
        return False, "the Triton kernel unrolls over at most 64 bins"
    return not_double(x)


def _draw(
    shape: tuple[int, ...], bins: int, generator: torch.Generator, *, scale: float, reach: float
) -> tuple[Tensor, Tensor]:
    x = reach * torch.randn(shape, generator=generator)
    return x, scale * torch.randn((*shape, 3 * bins - 1), generator=generator)


_LIMITS = (-3.0, 3.0, 1e-3, 1e-3, 1e-3)


def _case(
    *shape: int, bins: int, scale: float = 1.0, limits: tuple[float, ...] = _LIMITS,
    backward: bool = False,
) -> Case:  # fmt: skip
    def make(generator: torch.Generator, dtype: torch.dtype) -> tuple[Any, ...]:
        x, params = _draw(shape, bins, generator, scale=scale, reach=1.7)
        grads = [torch.randn(s, generator=generator) for s in (shape, shape[:1])]
        extra = (grads[0].to(dtype), grads[1]) if backward else ()
        return (x.to(dtype), params.to(dtype), *extra, *limits, *[False] * backward)

    name = f"{'x'.join(map(str, shape))}-K{bins}-scale{scale:g}"
    return Case(name, make, rows=(0, 1, 2, 3) if backward else (0, 1))


def _cases(*, backward: bool = False) -> tuple[Case, ...]:
    return (
        _case(3, 37, bins=4, backward=backward),
        _case(1, 1, bins=2, backward=backward),
        _case(2, 2, 3, 5, bins=5, limits=(-1.0, 2.0, 0.01, 0.02, 0.1), backward=backward),
        _case(2, 70, bins=8, scale=20.0, backward=backward),
    )


def _cost_values(x: Tensor, params: Tensor, *limits: float) -> Cost:
    n, bins = x.numel(), (params.shape[-1] + 1) // 3
    moved = n * x.element_size() * (2 + params.shape[-1]) + 4 * len(x)
    return Cost(bytes=moved, flops=n * (60 * bins + 80))


def _cost_backward(x: Tensor, params: Tensor, *rest: Any) -> Cost:
    n, bins = x.numel(), (params.shape[-1] + 1) // 3
    moved = n * x.element_size() * (3 + 2 * params.shape[-1]) + 4 * len(x)
    return Cost(bytes=moved, flops=n * (70 * bins + 200))


def _bench(*shape: int, bins: int = 8) -> Callable[[torch.Generator], tuple[Any, ...]]:
    def make(generator: torch.Generator) -> tuple[Any, ...]:
        return *_draw(shape, bins, generator, scale=1.0, reach=1.2), *_LIMITS

    return make


def _benches(name: str) -> tuple[Bench, ...]:
    def bench(*shape: int, backward: bool) -> Bench:
        peers = {peer: f"peers.spline:{peer.replace(' ', '_')}_{name}"
                 for peer in ("nflows", "nflows compiled", "zuko", "zuko compiled",
                              "reference compiled")}  # fmt: skip
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
        Variant(f"{_KERNEL}:_values_kernel", signature,
                {"K": bins, "INVERSE": is_inverse, "BLOCK": 128}, registers=96)
        for bins in (8, 16)
    )  # fmt: skip


def _backward_variants() -> tuple[Variant, ...]:
    signature = {"p_gx": "*fp32", "p_gparams": "*fp32", **_POINTERS, "p_grad": "*fp32",
                 "p_gladj": "*fp32", **_NUMBERS, **_GRAD_STRIDES}  # fmt: skip
    return tuple(
        Variant(f"{_KERNEL}:_backward_kernel", signature,
                {"K": 8, "INVERSE": is_inverse, "BLOCK": 128}, registers=128)
        for is_inverse in (False, True)
    )  # fmt: skip


_TOLERANCES = {
    torch.float32: (5e-5, 5e-5),
    torch.bfloat16: (8e-3, 1e-4),
    torch.float16: (1e-3, 1e-4),
}


OPS = _FORWARD, _INVERSE, _BACKWARD = bijection(
    "spline",
    "float left, float right, float min_width, float min_height, float min_derivative",
    reference=reference, event=_EVENT, cases=_cases, tolerances=_TOLERANCES,
    costs=(_cost_values, _cost_backward), cpp=(_values_cpp, _backward_cpp), triton=_KERNEL,
    verify_triton=_few_bins, benches=_benches, variants=(_value_variants, _backward_variants()),
)  # fmt: skip
