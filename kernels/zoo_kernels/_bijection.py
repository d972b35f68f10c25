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

from zoo_kernels._spec import Derivative, OpSpec


def collapsible(params: Tensor, dims: slice) -> Tensor:
    """params, or a copy where the strides of `dims` allow no view by `collapse_dims`."""
    fits = _two_axes(params.shape[dims], params.stride()[dims]) is not None
    return params if fits else params.contiguous()


def collapse_dims(params: Tensor, dims: slice) -> Tensor:
    """`collapsible` params as a view with two dimensions (D1, D2) in place of `dims`."""
    start, stop, _ = dims.indices(params.dim())
    if stop - start == 1:  # features of a vector
        return params.unsqueeze(start)
    sizes = list(params.shape)
    axes = _two_axes(sizes[dims], params.stride()[dims])
    collapsed = params if axes else params.contiguous()
    sizes[dims] = axes or (1, math.prod(sizes[dims]))
    return collapsed.view(sizes)


def _two_axes(sizes: Sequence[int], strides: Sequence[int]) -> tuple[int, int] | None:
    """(D1, D2) with D1 D2 elements, if these axes are two, or one, without gaps in each."""
    axes = [(n, s) for n, s in zip(sizes, strides, strict=True) if n != 1]
    gaps = [i for i, (n, s) in enumerate(axes[1:], 1) if axes[i - 1][1] != n * s]
    if len(gaps) > 1:
        return None
    at = gaps[0] if gaps else 0
    return math.prod(n for n, _ in axes[:at]), math.prod(n for n, _ in axes[at:])


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
