"""Rational-quadratic splines with linear tails, elementwise, and the log-determinant per row.

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
from zoo_kernels._bijection import (
    collapse_dims,
    collapsible,
    derivative,
    fake_backward,
    fake_values,
)
from zoo_kernels._dispatch import lazy
from zoo_kernels._extension import Support
from zoo_kernels._precision import not_float64, to_float32
from zoo_kernels._spec import Impl, OpSpec
from zoo_kernels.spline import reference
from zoo_kernels.spline.reference import Bounds

MAX_BINS = 128
EVENT = slice(1, -1)


def forward(
    x: Tensor,
    params: Tensor,
    *,
    left: float = -3.0,
    right: float = 3.0,
    min_width: float = 1e-3,
    min_height: float = 1e-3,
    min_derivative: float = 1e-3,
) -> tuple[Tensor, Tensor]:
    """The spline y = f(x) of each element, and ladj = log |det dy/dx| of each row in nats, (B,).

    x (B, *E) floating point, params (B, *E, 3 K - 1) of its dtype, with K in [2, MAX_BINS]. On
    [left, right] f has K bins, no narrower than `min_width` and no lower than `min_height` of the
    interval, with derivatives of at least `min_derivative` at the inner knots; outside, y = x.
    Differentiable, once. Raises ValueError, naming the argument, for what does not fit.
    """
    bounds = Bounds(left, right, min_width, min_height, min_derivative)
    _check(x, params, bounds)
    pair: tuple[Tensor, Tensor] = _FORWARD(x, params, *bounds)
    return pair


def inverse(
    y: Tensor,
    params: Tensor,
    *,
    left: float = -3.0,
    right: float = 3.0,
    min_width: float = 1e-3,
    min_height: float = 1e-3,
    min_derivative: float = 1e-3,
) -> tuple[Tensor, Tensor]:
    """The x with forward(x) = y, and ladj = log |det dx/dy| of each row in nats, (B,).

    Arguments and errors as of `forward`.
    """
    bounds = Bounds(left, right, min_width, min_height, min_derivative)
    _check(y, params, bounds)
    pair: tuple[Tensor, Tensor] = _INVERSE(y, params, *bounds)
    return pair


def _check(x: Tensor, params: Tensor, bounds: Bounds) -> None:
    _check_tensors(x, params)
    left, right = bounds.left, bounds.right
    if not (math.isfinite(left) and math.isfinite(right) and left < right):
        raise ValueError(f"left must be less than right, both finite, not {left!r}, {right!r}")
    bins = (params.shape[-1] + 1) // 3
    for name, value in {"min_width": bounds.min_width, "min_height": bounds.min_height}.items():
        if not 0 < value * bins < 1:
            raise ValueError(f"{name} must be in (0, 1 / {bins} bins), not {value!r}")
    slope = bounds.min_derivative
    if not (math.isfinite(slope) and slope > 0):
        raise ValueError(f"min_derivative must be positive, not {slope!r}")


def _check_tensors(x: Tensor, params: Tensor) -> None:
    if x.dim() < 1 or not x.dtype.is_floating_point:
        raise ValueError(f"x must be floating point (B, ...), not {x.dtype} {tuple(x.shape)}")
    n = params.shape[-1] if params.dim() else 0
    if params.shape[:-1] != x.shape or (n + 1) % 3 or not 2 <= (n + 1) // 3 <= MAX_BINS:
        wanted = f"({', '.join(map(str, x.shape))}, 3 K - 1) with K in [2, {MAX_BINS}]"
        raise ValueError(f"params must have shape {wanted}, not {tuple(params.shape)}")
    if params.dtype != x.dtype or params.device != x.device:
        raise ValueError(
            f"params must be {x.dtype} on {x.device} like x, not {params.dtype} on {params.device}"
        )


def collapsed(params: Tensor) -> Tensor:
    """params (B, *E, P) as (B, D1, D2, P), by strides where they allow, else a copy."""
    return collapse_dims(params, EVENT)


def _values_cpp(*, is_inverse: bool) -> Callable[..., tuple[Tensor, Tensor]]:
    def run(x: Tensor, params: Tensor, *bounds: float) -> tuple[Tensor, Tensor]:
        wide, p = to_float32(x), to_float32(params)
        out, each = alloc(x.shape, like=wide), alloc(x.shape, like=wide)
        ladj = alloc(x.shape[:1], like=wide)
        if params.numel():
            args = (out, ladj, each, wide.contiguous(), collapsed(p), *bounds, is_inverse)
            _extension.cpp("spline_values")(*args)
        return out.to(x.dtype), ladj if x.numel() else ladj.zero_()

    return run


def _backward_cpp(
    x: Tensor, params: Tensor, grad: Tensor, grad_ladj: Tensor, *options: Any
) -> tuple[Tensor, Tensor]:
    wide, g = to_float32(x), to_float32(grad)
    p = to_float32(collapsible(params, EVENT))
    grad_x, grad_params = alloc(x.shape, like=wide), alloc_like(p)
    if params.numel():
        _extension.cpp("spline_backward")(
            grad_x,
            collapsed(grad_params),
            wide.contiguous(),
            collapsed(p),
            g.contiguous(),
            grad_ladj.float().contiguous(),
            *options,
        )
    return grad_x.to(x.dtype), grad_params.to(params.dtype)


def _few_bins(x: Tensor, params: Tensor, *rest: Any) -> Support:
    if params.shape[-1] > 3 * 64 - 1:
        return False, "the Triton kernel unrolls over at most 64 bins"
    return not_float64(x)


_TRITON = "zoo_kernels.spline._triton"
_CASES = "zoo_kernels.spline._cases"
_BOUNDS = "float left, float right, float min_width, float min_height, float min_derivative"
_TOLERANCES = {
    torch.float32: (5e-5, 5e-5),
    torch.bfloat16: (8e-3, 1e-4),
    torch.float16: (1e-3, 1e-4),
}

_BACKWARD = OpSpec(
    name="spline_backward",
    schema=f"(Tensor x, Tensor params, Tensor grad, Tensor grad_ladj, {_BOUNDS}, bool inverse)"
    " -> (Tensor, Tensor)",
    reference=reference.backward,
    fake=fake_backward,
    examples=lazy(f"{_CASES}:backward"),
    tolerances=_TOLERANCES,
    cpp=Impl(_backward_cpp, not_float64, needs="spline_backward"),
    triton=Impl(lazy(f"{_TRITON}:backward"), _few_bins),
)
_FORWARD = OpSpec(
    name="spline_forward",
    schema=f"(Tensor x, Tensor params, {_BOUNDS}) -> (Tensor, Tensor)",
    reference=reference.forward,
    fake=fake_values,
    examples=lazy(f"{_CASES}:forward"),
    tolerances=_TOLERANCES,
    cpp=Impl(_values_cpp(is_inverse=False), not_float64, needs="spline_values"),
    triton=Impl(lazy(f"{_TRITON}:forward"), _few_bins),
    derivative=derivative(_BACKWARD, is_inverse=False),
)
_INVERSE = OpSpec(
    name="spline_inverse",
    schema=f"(Tensor x, Tensor params, {_BOUNDS}) -> (Tensor, Tensor)",
    reference=reference.inverse,
    fake=fake_values,
    examples=lazy(f"{_CASES}:inverse"),
    tolerances=_TOLERANCES,
    cpp=Impl(_values_cpp(is_inverse=True), not_float64, needs="spline_values"),
    triton=Impl(lazy(f"{_TRITON}:inverse"), _few_bins),
    derivative=derivative(_BACKWARD, is_inverse=True),
)
OPS = (_FORWARD, _INVERSE, _BACKWARD)
