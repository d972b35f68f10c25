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
    """x (B, C_in, H, W), w (O, C_in, k, k) -> (B, O, H, W), or (B, O / 2, H, W) if gated."""
    _check(x, w, bias, cond, residual, kind, groups, gated)
    y: Tensor = _FORWARD(x, w, bias, cond, residual, kind, groups, gated)[0]
    return y


def _check(
    x: Tensor,
    w: Tensor,
    bias: Tensor | None,
    cond: Tensor | None,
    residual: Tensor | None,
    kind: str,
    groups: int,
    gated: bool,
) -> None:
    if kind not in ("A", "B"):
        raise ValueError(f"kind must be 'A' or 'B', not {kind!r}")
    if x.dim() != 4 or not x.dtype.is_floating_point:
        raise ValueError(f"x must be floating (B, C, H, W), not {x.dtype} {tuple(x.shape)}")
    if w.dim() != 4 or w.shape[1] != x.shape[1] or w.shape[2] != w.shape[3] or not w.shape[2] % 2:
        raise ValueError(f"w must be (O, {x.shape[1]}, k, k) with odd k, not {tuple(w.shape)}")
    parts = 2 * groups if gated else groups
    if groups < 1 or x.shape[1] % groups or w.shape[0] % parts or not w.shape[0]:
        raise ValueError(f"groups must divide {x.shape[1]} input channels and {parts} parts "
                         f"must divide {w.shape[0]} output channels, not {groups}")  # fmt: skip
    b, _, h, width = x.shape
    o = w.shape[0]
    shapes: dict[str, tuple[Tensor | None, list[tuple[int, ...]]]] = {
        "w": (w, [tuple(w.shape)]),
        "bias": (bias, [(o,)]),
        "cond": (cond, [(b, o, h, width), (b, o, 1, 1)]),
        "residual": (residual, [(b, o // 2 if gated else o, h, width)]),
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


def _fake(x: Tensor, w: Tensor, bias: Any, cond: Any, residual: Any, kind: str, groups: int,
          gated: bool) -> tuple[Tensor, Tensor]:  # fmt: skip
    b, _, h, width = x.shape
    o = w.shape[0]
    y = _empty((b, o // 2 if gated else o, h, width), x)
    return y, _empty((b, o, h, width), x) if gated else x.new_empty(0)


def _fake_backward(grad: Tensor, x: Tensor, w: Tensor, pre: Tensor, kind: str, groups: int,
                   gated: bool, need_x: bool) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    grad_x = _empty(tuple(x.shape), x) if need_x else x.new_empty(0)
    grad_pre = _empty((x.shape[0], w.shape[0], *x.shape[2:]), x)
    return grad_x, torch.empty_like(w, memory_format=torch.contiguous_format), grad_pre


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, w, bias, cond, residual, *ctx.options = inputs
    ctx.shapes = None if cond is None else cond.shape
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(x, w, output[1])


def _backward(ctx: Any, grad: Tensor, _: Any) -> tuple[Any, ...]:
    x, w, pre = ctx.saved_tensors
    need_x, _, need_bias, need_cond, need_residual, *_ = ctx.needs_input_grad
    grad_x, grad_w, grad_pre = _BACKWARD(grad, x, w, pre, *ctx.options, need_x)
    return (
        grad_x if need_x else None,
        grad_w,
        grad_pre.sum((0, 2, 3)) if need_bias else None,
        grad_pre.sum_to_size(ctx.shapes) if need_cond else None,
        grad if need_residual else None,
        *[None] * 3,
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
