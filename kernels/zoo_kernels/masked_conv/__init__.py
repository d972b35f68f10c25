"""Masked convolution of an autoregressive image model, with bias, condition, gate and residual.

    y = masked_conv(x, w, bias, kind="B", groups=3, gated=True, cond=link, residual=x)

Equations, mask and shapes: `reference.py`. Only live taps are computed; results are channels-last.
float32 runs in C++ on the CPU; float32, bfloat16 and float16 in Triton. Forward and backward; the
backward pass keeps x, w and the pre-activation.
"""

__all__ = ["OPS", "masked_conv"]

from typing import Any

import torch
from torch import Tensor

from zoo_kernels._dispatch import lazy
from zoo_kernels._precision import only_float32
from zoo_kernels._spec import Derivative, Impl, OpSpec
from zoo_kernels.masked_conv import _cpp, reference
from zoo_kernels.masked_conv.reference import ConvArguments, ConvBackwardArguments


def masked_conv(
    x: Tensor,
    w: Tensor,
    bias: Tensor | None = None,
    *,
    kind: str = "B",
    groups: int = 1,
    gated: bool = False,
    cond: Tensor | None = None,
    residual: Tensor | None = None,
) -> Tensor:
    """The convolution of x with the live weights, then condition, gate and residual.

    x (B, C_in, H, W), w (O, C_in, k, k) with odd k and bias (O,), all of one dtype, give
    y (B, O, H, W), or (B, O / 2, H, W) if `gated`.

    - `kind`: "B" if a pixel sees its own group of channels, "A" if only those before it.
    - `groups`: divides C_in and O.
    - `cond`: (B, O, H, W) or (B, O, 1, 1), added to the pre-activation.
    - `residual`: of y's shape, added to y.

    Raises ValueError, naming the argument, for shapes, dtypes and values that do not fit.
    """
    a = ConvArguments(
        x=x,
        w=w,
        bias=bias,
        cond=cond,
        residual=residual,
        kind=kind,
        groups=groups,
        gated=gated,
    )
    _check(a)
    y: Tensor = _FORWARD(*a)[0]
    return y


def _check(a: ConvArguments) -> None:
    x, w = a.x, a.w
    if a.kind not in ("A", "B"):
        raise ValueError(f"kind must be 'A' or 'B', not {a.kind!r}")
    if x.dim() != 4 or not x.dtype.is_floating_point:
        raise ValueError(f"x must be floating (B, C, H, W), not {x.dtype} {tuple(x.shape)}")
    if w.dim() != 4 or w.shape[1] != x.shape[1] or w.shape[2] != w.shape[3] or not w.shape[2] % 2:
        raise ValueError(f"w must be (O, {x.shape[1]}, k, k) with odd k, not {tuple(w.shape)}")
    parts = 2 * a.groups if a.gated else a.groups
    if a.groups < 1 or x.shape[1] % a.groups or w.shape[0] % parts or not w.shape[0]:
        raise ValueError(
            f"groups must divide {x.shape[1]} input channels and {parts} parts "
            f"must divide {w.shape[0]} output channels, not {a.groups}"
        )
    _check_shapes(a)


def _check_shapes(a: ConvArguments) -> None:
    x, o, (b, _, h, width) = a.x, a.w.shape[0], a.x.shape
    shapes: dict[str, tuple[Tensor | None, list[tuple[int, ...]]]] = {
        "w": (a.w, [tuple(a.w.shape)]),
        "bias": (a.bias, [(o,)]),
        "cond": (a.cond, [(b, o, h, width), (b, o, 1, 1)]),
        "residual": (a.residual, [(b, o // 2 if a.gated else o, h, width)]),
    }
    for name, (t, possible) in shapes.items():
        if t is None:
            continue
        if tuple(t.shape) not in possible or t.dtype != x.dtype or t.device != x.device:
            raise ValueError(
                f"{name} must be {x.dtype} on {x.device} of shape "
                f"{' or '.join(map(str, possible))}, not {t.dtype} on {t.device} {tuple(t.shape)}"
            )


def _empty(shape: tuple[Any, ...], like: Tensor) -> Tensor:
    return torch.empty(
        shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last
    )


def _fake(*args: Any) -> tuple[Tensor, Tensor]:
    a = ConvArguments(*args)
    b, _, h, width = a.x.shape
    o = a.w.shape[0]
    y = _empty((b, o // 2 if a.gated else o, h, width), a.x)
    return y, _empty((b, o, h, width), a.x) if a.gated else a.x.new_empty(0)


def _fake_backward(*args: Any) -> tuple[Tensor, Tensor, Tensor]:
    a = ConvBackwardArguments(*args)
    grad_x = _empty(tuple(a.x.shape), a.x) if a.need_x else a.x.new_empty(0)
    grad_pre = _empty((a.x.shape[0], a.w.shape[0], *a.x.shape[2:]), a.x)
    return grad_x, torch.empty_like(a.w, memory_format=torch.contiguous_format), grad_pre


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    a, (_, pre) = ConvArguments(*inputs), output
    ctx.shapes = None if a.cond is None else a.cond.shape
    ctx.options = {"kind": a.kind, "groups": a.groups, "gated": a.gated}
    ctx.mark_non_differentiable(pre)
    ctx.save_for_backward(a.x, a.w, pre)


def _backward(ctx: Any, grad: Tensor, _: Any) -> tuple[Any, ...]:
    x, w, pre = ctx.saved_tensors
    need_x, _, need_bias, need_cond, need_residual, *_ = ctx.needs_input_grad
    grad_x, grad_w, grad_pre = _BACKWARD(
        *ConvBackwardArguments(grad=grad, x=x, w=w, pre=pre, **ctx.options, need_x=need_x)
    )
    return (
        grad_x if need_x else None,
        grad_w,
        grad_pre.sum((0, 2, 3)) if need_bias else None,
        grad_pre.sum_to_size(ctx.shapes) if need_cond else None,
        grad if need_residual else None,
        *[None] * len(ctx.options),
    )


_TOLERANCES = {
    torch.float32: (1e-5, 1e-5),
    torch.bfloat16: (1.6e-2, 1.6e-2),
    torch.float16: (2e-3, 2e-3),
}
_BACKWARD = OpSpec(
    name="masked_conv_backward",
    schema="(Tensor grad, Tensor x, Tensor w, Tensor pre, str kind, int groups, bool gated, "
    "bool need_x) -> (Tensor, Tensor, Tensor)",
    reference=reference.backward,
    fake=_fake_backward,
    examples=lazy("zoo_kernels.masked_conv._cases:backward"),
    tolerances=_TOLERANCES,
    cpp=Impl(_cpp.backward, only_float32, needs="gate_backward"),
    triton=Impl(lazy(f"{__name__}._triton:backward")),
    row_bitwise=False,
)
_FORWARD = OpSpec(
    name="masked_conv",
    schema="(Tensor x, Tensor w, Tensor? bias, Tensor? cond, Tensor? residual, str kind, "
    "int groups, bool gated) -> (Tensor, Tensor)",
    reference=reference.masked_conv,
    fake=_fake,
    examples=lazy("zoo_kernels.masked_conv._cases:masked_conv"),
    tolerances=_TOLERANCES,
    cpp=Impl(_cpp.masked_conv, only_float32, needs="gate_forward"),
    triton=Impl(lazy(f"{__name__}._triton:masked_conv")),
    derivative=Derivative(_setup, _backward),
    row_bitwise=False,
)
OPS = (_FORWARD, _BACKWARD)
