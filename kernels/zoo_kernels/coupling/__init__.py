"""Affine coupling layers in one pass, split and concatenation included, and Glow's linear part.

    y, ladj = forward(x, params, scale="sigmoid", order="shift_scale")     # x (B, C, *S)
    x, back = inverse(y, params, scale="sigmoid", order="shift_scale")     # back = -ladj (B,)

`params` (B, 2, C', *S) holds shifts and raw scales for the last C' channels (`first=True`: the
first ones) and may have any strides: `h.unflatten(1, (2, -1))` for halves,
`h.unflatten(1, (-1, 2)).movedim(2, 1)` for pairs. `order` is RealNVP's "scale_shift"
(s x + t) or Glow's "shift_scale" (s (x + t)); `scale` is "exp", "sigmoid" (of raw + constant,
default 2) or "tanh" (log s = c tanh(raw / c), default c = 2). Half precision is a storage format.
Only the inputs are saved for the backward. Equations and papers: `reference.py`.

`actnorm_conv` folds actnorm into the invertible 1x1 convolution that follows it: one convolution,
whose matrix and bias `Kept` computes once for all batches of samples.
"""

__all__ = [
    "OPS",
    "Kept",
    "actnorm_conv",
    "actnorm_conv_inverse",
    "fold",
    "fold_inverse",
    "forward",
    "inverse",
    "place_by_place",
]

import math
from collections.abc import Callable

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
from zoo_kernels._precision import not_float64, to_float32
from zoo_kernels._spec import Impl, OpSpec
from zoo_kernels.coupling import reference
from zoo_kernels.coupling.glow import (
    Kept,
    actnorm_conv,
    actnorm_conv_inverse,
    fold,
    fold_inverse,
    place_by_place,
)

_DEFAULTS = {"exp": 0.0, "sigmoid": 2.0, "tanh": 2.0}
EVENT = slice(2, None)


def forward(
    x: Tensor,
    params: Tensor,
    *,
    scale: str = "exp",
    order: str = "scale_shift",
    constant: float | None = None,
    first: bool = False,
) -> tuple[Tensor, Tensor]:
    """The coupling's y, and ladj = log |det dy/dx| of each row in nats, (B,).

    x (B, C, *S) floating point, params (B, 2, C', *S) of its dtype, with C' in [1, C]. `scale`,
    `order`, `constant` and `first` as above; a `constant` of None is the default of the scale.
    Differentiable, once. Raises ValueError, naming the argument, for what does not fit.
    """
    pair: tuple[Tensor, Tensor] = _FORWARD(*_checked(x, params, scale, order, constant), first)
    return pair


def inverse(
    y: Tensor,
    params: Tensor,
    *,
    scale: str = "exp",
    order: str = "scale_shift",
    constant: float | None = None,
    first: bool = False,
) -> tuple[Tensor, Tensor]:
    """The x with forward(x) = y, and ladj = log |det dx/dy| of each row in nats, (B,).

    Arguments and errors as of `forward`.
    """
    pair: tuple[Tensor, Tensor] = _INVERSE(*_checked(y, params, scale, order, constant), first)
    return pair


def _checked(
    x: Tensor, params: Tensor, scale: str, order: str, constant: float | None
) -> tuple[Tensor, Tensor, str, str, float]:
    if x.dim() < 2 or not x.dtype.is_floating_point:
        raise ValueError(f"x must be floating point (B, C, ...), not {x.dtype} {tuple(x.shape)}")
    b, c, *space = x.shape
    shape = tuple(params.shape)
    fits = len(shape) == x.dim() + 1 and shape == (b, 2, shape[2], *space)
    if not fits or not 1 <= shape[2] <= c:
        wanted = ", ".join(["C'", *map(str, space)])
        raise ValueError(
            f"params must have shape ({b}, 2, {wanted}) with C' in [1, {c}], not {shape}"
        )
    if params.dtype != x.dtype or params.device != x.device:
        raise ValueError(
            f"params must be {x.dtype} on {x.device} like x, not {params.dtype} on {params.device}"
        )
    if scale not in reference.SCALES:
        raise ValueError(f"scale must be one of {', '.join(reference.SCALES)}, not {scale!r}")
    if order not in reference.ORDERS:
        raise ValueError(f"order must be one of {', '.join(reference.ORDERS)}, not {order!r}")
    constant = _DEFAULTS[scale] if constant is None else constant
    if not math.isfinite(constant) or (scale == "tanh" and constant <= 0):
        raise ValueError(f"constant must be finite, and positive for tanh, not {constant!r}")
    return x, params, scale, order, constant


def collapsed(params: Tensor) -> Tensor:
    """params (B, 2, *E) as (B, 2, D1, D2), by strides where they allow, else a copy."""
    return collapse_dims(params, EVENT)


def start(x: Tensor, params: Tensor, first: bool) -> int:
    """Where in a row the transformed elements begin."""
    return 0 if first else (x.shape[1] - params.shape[2]) * math.prod(x.shape[2:])


def numbers(scale: str, order: str) -> tuple[int, bool]:
    """How C++ and Triton name the scale, and whether the shift comes first."""
    return reference.SCALES.index(scale), order == "shift_scale"


def _values_cpp(*, is_inverse: bool) -> Callable[..., tuple[Tensor, Tensor]]:
    def run(
        x: Tensor, params: Tensor, scale: str, order: str, constant: float, first: bool
    ) -> tuple[Tensor, Tensor]:
        wide, p = to_float32(x), to_float32(params)
        out, ladj = alloc(x.shape, like=wide), alloc(x.shape[:1], like=wide)
        if not x.numel():
            return out.to(x.dtype), ladj.zero_()
        _extension.cpp("coupling_values")(
            out,
            ladj,
            wide.contiguous(),
            collapsed(p),
            *numbers(scale, order),
            constant,
            start(x, params, first),
            is_inverse,
        )
        return out.to(x.dtype), ladj

    return run


def _backward_cpp(
    x: Tensor,
    params: Tensor,
    grad: Tensor,
    grad_ladj: Tensor,
    scale: str,
    order: str,
    constant: float,
    first: bool,
    is_inverse: bool,
) -> tuple[Tensor, Tensor]:
    wide, g = to_float32(x), to_float32(grad)
    p = to_float32(collapsible(params, EVENT))
    grad_x, grad_params = alloc(x.shape, like=wide), alloc_like(p)
    if x.numel():
        _extension.cpp("coupling_backward")(
            grad_x,
            collapsed(grad_params),
            wide.contiguous(),
            collapsed(p),
            g.contiguous(),
            grad_ladj.float().contiguous(),
            *numbers(scale, order),
            constant,
            start(x, params, first),
            is_inverse,
        )
    return grad_x.to(x.dtype), grad_params.to(params.dtype)


_TRITON = "zoo_kernels.coupling._triton"
_CASES = "zoo_kernels.coupling._cases"
_OPTIONS = "str scale, str order, float constant, bool first"
_TOLERANCES = {
    torch.float32: (5e-6, 5e-6),
    torch.bfloat16: (8e-3, 1e-3),
    torch.float16: (1e-3, 1e-4),
}

_BACKWARD = OpSpec(
    name="coupling_backward",
    schema=f"(Tensor x, Tensor params, Tensor grad, Tensor grad_ladj, {_OPTIONS}, bool inverse)"
    " -> (Tensor, Tensor)",
    reference=reference.backward,
    fake=fake_backward,
    examples=lazy(f"{_CASES}:backward"),
    tolerances=_TOLERANCES,
    cpp=Impl(_backward_cpp, not_float64, needs="coupling_backward"),
    triton=Impl(lazy(f"{_TRITON}:backward"), not_float64),
)
_FORWARD = OpSpec(
    name="coupling_forward",
    schema=f"(Tensor x, Tensor params, {_OPTIONS}) -> (Tensor, Tensor)",
    reference=reference.forward,
    fake=fake_values,
    examples=lazy(f"{_CASES}:forward"),
    tolerances=_TOLERANCES,
    cpp=Impl(_values_cpp(is_inverse=False), not_float64, needs="coupling_values"),
    triton=Impl(lazy(f"{_TRITON}:forward"), not_float64),
    derivative=derivative(_BACKWARD, is_inverse=False),
)
_INVERSE = OpSpec(
    name="coupling_inverse",
    schema=f"(Tensor x, Tensor params, {_OPTIONS}) -> (Tensor, Tensor)",
    reference=reference.inverse,
    fake=fake_values,
    examples=lazy(f"{_CASES}:inverse"),
    tolerances=_TOLERANCES,
    cpp=Impl(_values_cpp(is_inverse=True), not_float64, needs="coupling_values"),
    triton=Impl(lazy(f"{_TRITON}:inverse"), not_float64),
    derivative=derivative(_BACKWARD, is_inverse=True),
)
OPS = (_FORWARD, _INVERSE, _BACKWARD)
