"""Affine coupling layers in one pass, split and concatenation included, and Glow's linear part.

    y, ladj = forward(x, params, scale="sigmoid", order="shift_scale")     # x (B, C, *S)
    x, back = inverse(y, params, scale="sigmoid", order="shift_scale")     # back = -ladj (B,)

`params` (B, 2, C', *S) holds shifts and raw scales for the last C' channels (`first=True`: the
first ones) and may have any strides: `h.unflatten(1, (2, -1))` for halves,
`h.unflatten(1, (-1, 2)).movedim(2, 1)` for pairs. `order` is RealNVP's "scale_shift"
(s x + t) or Glow's "shift_scale" (s (x + t)); `scale` is "exp", "sigmoid" (of raw + constant,
default 2) or "tanh" (log s = c tanh(raw / c), default c = 2). Half precision is a storage format.
Only the inputs are saved for the backward.

`actnorm_conv` folds actnorm into the invertible 1x1 convolution that follows it: one convolution,
whose matrix and bias `Kept` computes once for all batches of samples.
"""

__all__ = ["OPS", "Kept", "actnorm_conv", "actnorm_conv_inverse", "fold", "fold_inverse",
           "forward", "inverse", "place_by_place"]  # fmt: skip

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from zoo_kernels import _extension
from zoo_kernels._alloc import alloc, alloc_like
from zoo_kernels._bijection import as_lines, bijection, single
from zoo_kernels._spec import Bench, Case, Cost, Variant
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
_EVENT = slice(2, None)


def forward(
    x: Tensor, params: Tensor, *, scale: str = "exp", order: str = "scale_shift",
    constant: float | None = None, first: bool = False,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """(y, ladj): ladj (B,) is log |det dy/dx| in nats."""
    pair: tuple[Tensor, Tensor] = _FORWARD(*_checked(x, params, scale, order, constant), first)
    return pair


def inverse(
    y: Tensor, params: Tensor, *, scale: str = "exp", order: str = "scale_shift",
    constant: float | None = None, first: bool = False,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """(x, ladj): ladj (B,) is log |det dx/dy| in nats."""
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
        raise ValueError(f"params must have shape ({b}, 2, {wanted}) with C' in [1, {c}], "
                         f"not {shape}")  # fmt: skip
    if params.dtype != x.dtype or params.device != x.device:
        raise ValueError(f"params must be {x.dtype} on {x.device} like x, "
                         f"not {params.dtype} on {params.device}")  # fmt: skip
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
    return as_lines(params, _EVENT)


def start(x: Tensor, params: Tensor, first: bool) -> int:
    """Where in a row the transformed elements begin."""
    return 0 if first else (x.shape[1] - params.shape[2]) * math.prod(x.shape[2:])


def numbers(scale: str, order: str) -> tuple[int, bool]:
    """How C++ and Triton name the scale, and whether the shift comes first."""
    return reference.SCALES.index(scale), order == "shift_scale"


def _values_cpp(is_inverse: bool) -> Callable[..., tuple[Tensor, Tensor]]:
    def run(
        x: Tensor, params: Tensor, scale: str, order: str, constant: float, first: bool
    ) -> tuple[Tensor, Tensor]:
        wide, p = single(x, params)
        out, ladj = alloc(x.shape, like=wide), alloc(x.shape[:1], like=wide)
        if not x.numel():
            return out.to(x.dtype), ladj.zero_()
        _extension.cpp("coupling_values")(
            out, ladj, wide.contiguous(), collapsed(p), *numbers(scale, order), constant,
            start(x, params, first), is_inverse,
        )  # fmt: skip
        return out.to(x.dtype), ladj

    return run


def _backward_cpp(
    x: Tensor, params: Tensor, grad: Tensor, grad_ladj: Tensor, scale: str, order: str,
    constant: float, first: bool, is_inverse: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    wide, p, g = single(x, params, grad)
    grad_x, grad_params = alloc(x.shape, like=wide), alloc_like(p)
    if x.numel():
        _extension.cpp("coupling_backward")(
            grad_x, collapsed(grad_params), wide.contiguous(), collapsed(p), g.contiguous(),
            grad_ladj.float().contiguous(), *numbers(scale, order), constant,
            start(x, params, first), is_inverse,
        )  # fmt: skip
    return grad_x.to(x.dtype), grad_params.to(params.dtype)


def _case(
    x_shape: tuple[int, ...], channels: int, *rest: Any, pairs: bool = False, backward: bool
) -> Case:
    def make(generator: torch.Generator, dtype: torch.dtype) -> tuple[Any, ...]:
        b, _, *space = x_shape
        x = torch.randn(x_shape, generator=generator)
        h = torch.randn(b, 2 * channels, *space, generator=generator)
        params = h.unflatten(1, (-1, 2)).movedim(2, 1) if pairs else h.unflatten(1, (2, -1))
        grads = [torch.randn(s, generator=generator) for s in (x_shape, x_shape[:1])]
        extra = (grads[0].to(dtype), grads[1]) if backward else ()
        return (x.to(dtype), params.to(dtype), *extra, *rest, *[False] * backward)

    name = f"{'x'.join(map(str, x_shape))}-{rest[0]}-{rest[1]}{'-pairs' * pairs}"
    return Case(name, make, rows=(0, 1, 2, 3) if backward else (0, 1))


def _cases(*, backward: bool = False) -> tuple[Case, ...]:
    return (
        _case((3, 4, 5, 5), 2, "sigmoid", "shift_scale", 2.0, False, pairs=True,
              backward=backward),
        _case((1, 2), 1, "exp", "scale_shift", 0.0, True, backward=backward),
        _case((2, 67), 30, "tanh", "scale_shift", 1.5, True, pairs=True, backward=backward),
        _case((2, 3, 21), 3, "exp", "shift_scale", 0.0, False, backward=backward),
    )  # fmt: skip


def _cost_values(x: Tensor, params: Tensor, *rest: Any) -> Cost:
    moved = x.element_size() * (2 * x.numel() + params.numel()) + 4 * len(x)
    return Cost(bytes=moved, flops=20 * params.numel() // 2)


def _cost_backward(x: Tensor, params: Tensor, *rest: Any) -> Cost:
    moved = x.element_size() * (3 * x.numel() + 2 * params.numel()) + 4 * len(x)
    return Cost(bytes=moved, flops=40 * params.numel() // 2)


def _images(generator: torch.Generator) -> tuple[Any, ...]:
    x = torch.randn(64, 12, 32, 32, generator=generator)
    h = torch.randn(64, 12, 32, 32, generator=generator)
    params = h.unflatten(1, (-1, 2)).movedim(2, 1)
    return x, params, "sigmoid", "shift_scale", 2.0, False


_KERNEL = "zoo_kernels.coupling._triton"
_INTEGERS = {name: "i32" for name in ("d", "d2", "begin", "count", "blocks")}
_STRIDES = {name: "i64" for name in ("sb", "sp", "s1", "s2")}
_GRAD_STRIDES = {name: "i64" for name in ("tb", "tp", "t1", "t2")}


def _value_variants(is_inverse: bool) -> tuple[Variant, ...]:
    pointers = {name: "*fp32" for name in ("p_out", "p_ladj", "p_x", "p_params")}
    return tuple(
        Variant(f"{_KERNEL}:_values_kernel",
                {**pointers, **_INTEGERS, **_STRIDES, "constant": "fp32"},
                {"SCALE": scale, "SHIFT_FIRST": True, "INVERSE": is_inverse, "BLOCK": 1024},
                registers=80, aligned=("p_out", "p_x", "p_params", "d"))
        for scale in range(3)
    )  # fmt: skip


def _backward_variants() -> tuple[Variant, ...]:
    names = ("p_gx", "p_gparams", "p_x", "p_params", "p_grad", "p_gladj")
    signature = {**{name: "*fp32" for name in names}, **_INTEGERS, **_STRIDES, "constant": "fp32",
                 "e2": "i32", **_GRAD_STRIDES}  # fmt: skip
    return tuple(
        Variant(f"{_KERNEL}:_backward_kernel", signature,
                {"SCALE": 1, "SHIFT_FIRST": True, "INVERSE": is_inverse, "BLOCK": 1024},
                registers=112, aligned=("p_gx", "p_x", "p_params", "p_grad", "d"))
        for is_inverse in (False, True)
    )  # fmt: skip


_TOLERANCES = {torch.float32: (5e-6, 5e-6), torch.bfloat16: (8e-3, 1e-3),
               torch.float16: (1e-3, 1e-4)}  # fmt: skip


def _benches(name: str) -> tuple[Bench, ...]:
    peers = {"normflows": f"peers.coupling:{name}",
             "normflows compiled": f"peers.coupling:{name}_compiled"}  # fmt: skip
    return (Bench("glow 64x12x32x32", _images, peers),)


OPS = _FORWARD, _INVERSE, _BACKWARD = bijection(
    "coupling", "str scale, str order, float constant, bool first", reference=reference,
    event=_EVENT, cases=_cases, tolerances=_TOLERANCES, costs=(_cost_values, _cost_backward),
    cpp=(_values_cpp, _backward_cpp), triton=_KERNEL, benches=_benches,
    variants=(_value_variants, _backward_variants()),
)  # fmt: skip
