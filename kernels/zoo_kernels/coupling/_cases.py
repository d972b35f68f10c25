"""Sample arguments, costs, benchmark rows and compiled variants of affine couplings."""

from typing import Any

import torch
from torch import Tensor

from zoo_kernels._examples import Bench, Case, Cost, Examples, Variant


def _case(
    shape: tuple[int, ...],
    channels: int,
    scale: str,
    order: str,
    constant: float,
    first: bool,
    *,
    pairs: bool = False,
    backward: bool,
) -> Case:
    def make(generator: torch.Generator, dtype: torch.dtype) -> tuple[Any, ...]:
        b, _, *space = shape
        x = torch.randn(shape, generator=generator)
        h = torch.randn(b, 2 * channels, *space, generator=generator)
        params = h.unflatten(1, (-1, 2)).movedim(2, 1) if pairs else h.unflatten(1, (2, -1))
        grad, grad_ladj = (torch.randn(s, generator=generator) for s in (shape, shape[:1]))
        extra = (grad.to(dtype), grad_ladj) if backward else ()
        options = (scale, order, constant, first)
        return (x.to(dtype), params.to(dtype), *extra, *options, *[False] * backward)

    name = f"{'x'.join(map(str, shape))}-{scale}-{order}{'-pairs' * pairs}"
    return Case(name, make, rows=(0, 1, 2, 3) if backward else (0, 1))


def _cases(*, backward: bool = False) -> tuple[Case, ...]:
    return (
        _case(
            (3, 4, 5, 5), 2, "sigmoid", "shift_scale", 2.0, False, pairs=True, backward=backward
        ),
        _case((1, 2), 1, "exp", "scale_shift", 0.0, True, backward=backward),
        _case((2, 67), 30, "tanh", "scale_shift", 1.5, True, pairs=True, backward=backward),
        _case((2, 3, 21), 3, "exp", "shift_scale", 0.0, False, backward=backward),
    )


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
        Variant(
            f"{_KERNEL}:_values_kernel",
            {**pointers, **_INTEGERS, **_STRIDES, "constant": "fp32"},
            {"SCALE": scale, "SHIFT_FIRST": True, "INVERSE": is_inverse, "BLOCK": 1024},
            registers=80,
            maxnreg=80,
            aligned=("p_out", "p_x", "p_params", "d"),
        )
        for scale in range(3)
    )


def _backward_variants() -> tuple[Variant, ...]:
    names = ("p_gx", "p_gparams", "p_x", "p_params", "p_grad", "p_gladj")
    signature = {
        **{name: "*fp32" for name in names},
        **_INTEGERS,
        **_STRIDES,
        "constant": "fp32",
        "e2": "i32",
        **_GRAD_STRIDES,
    }
    return tuple(
        Variant(
            f"{_KERNEL}:_backward_kernel",
            signature,
            {"SCALE": 1, "SHIFT_FIRST": True, "INVERSE": is_inverse, "BLOCK": 1024},
            registers=112,
            aligned=("p_gx", "p_x", "p_params", "p_grad", "d"),
        )
        for is_inverse in (False, True)
    )


def _benches(name: str) -> tuple[Bench, ...]:
    peers = {
        "normflows": f"peers.coupling:{name}",
        "normflows compiled": f"peers.coupling:{name}_compiled",
    }
    return (Bench("glow 64x12x32x32", _images, peers),)


def forward() -> Examples:
    return Examples(_cases(), _cost_values, _benches("forward"), _value_variants(False))


def inverse() -> Examples:
    return Examples(_cases(), _cost_values, _benches("inverse"), _value_variants(True))


def backward() -> Examples:
    return Examples(_cases(backward=True), _cost_backward, variants=_backward_variants())
