"""What the ops of an elementwise bijection y = f(x; params) share: splines and affine couplings.

Each has three: forward, inverse, and the backward of both, which recomputes from the inputs.

    forward, inverse   (x, params, *options) -> (y, ladj), ladj (B,) in nats
    backward           (x, params, grad, grad_ladj, *options, inverse) -> (grad_x, grad_params)
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from zoo_kernels._dispatch import Verdict
from zoo_kernels._spec import Derivative, OpSpec

_HALVES = (torch.float16, torch.bfloat16)


def single(*tensors: Tensor) -> list[Tensor]:
    """Half precision is a storage format: as float32."""
    return [t.float() if t.dtype in _HALVES else t for t in tensors]


def by_lines(params: Tensor, event: slice) -> Tensor:
    """params, or a copy where the strides of its axes `event` allow no view by `as_lines`."""
    fits = _two_axes(params.shape[event], params.stride()[event]) is not None
    return params if fits else params.contiguous()


def as_lines(params: Tensor, event: slice) -> Tensor:
    """`by_lines` of params as a view with two axes (D1, D2) in place of those of `event`."""
    sizes = list(params.shape)
    axes = _two_axes(sizes[event], params.stride()[event])
    lines = params if axes else params.contiguous()
    sizes[event] = axes or (1, math.prod(sizes[event]))
    return lines.view(sizes)


def _two_axes(sizes: Sequence[int], strides: Sequence[int]) -> tuple[int, int] | None:
    """(D1, D2) with D1 D2 elements, if these axes are two, or one, without gaps in each."""
    axes = [(n, s) for n, s in zip(sizes, strides, strict=True) if n != 1]
    gaps = [i for i, (n, s) in enumerate(axes[1:], 1) if axes[i - 1][1] != n * s]
    if len(gaps) > 1:
        return None
    at = gaps[0] if gaps else 0
    return math.prod(n for n, _ in axes[:at]), math.prod(n for n, _ in axes[at:])


def not_double(x: Tensor, *rest: Any) -> Verdict:
    return x.dtype != torch.float64, "float64 is for the reference"


def fake_values(x: Tensor, params: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    return x.new_empty(x.shape), x.new_empty(x.shape[:1], dtype=wide)


def fake_backward(x: Tensor, params: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), torch.empty_like(params)


def derivative(backward_op: OpSpec, *, is_inverse: bool) -> Derivative:
    """Of forward, or of inverse, by the third op."""

    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        x, params, *ctx.options = inputs
        ctx.save_for_backward(x, params)

    def backward(ctx: Any, grad: Tensor, grad_ladj: Tensor) -> tuple[Any, ...]:
        pair = backward_op(*ctx.saved_tensors, grad, grad_ladj, *ctx.options, is_inverse)
        return (*pair, *[None] * len(ctx.options))

    return Derivative(setup_context, backward)
