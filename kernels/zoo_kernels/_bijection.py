"""The three ops of an elementwise bijection y = f(x; params) with the log-determinant of a row:
forward, inverse, and the backward of both, which recomputes from the inputs.

    forward, inverse   (Tensor x, Tensor params, REST) -> (y, ladj)
    backward           (Tensor x, Tensor params, Tensor grad, Tensor grad_ladj, REST, bool inverse)
                       -> (grad_x, grad_params)
"""

import math
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from zoo_kernels._dispatch import Impl, Verdict, lazy
from zoo_kernels._spec import Bench, Case, Cost, Derivative, OpSpec, Variant

_HALVES = (torch.float16, torch.bfloat16)
Function = Callable[..., Any]


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


def _fake_values(x: Tensor, params: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    return x.new_empty(x.shape), x.new_empty(x.shape[:1], dtype=wide)


def _fake_backward(x: Tensor, params: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), torch.empty_like(params)


def _derivative(backward_op: OpSpec, is_inverse: bool) -> Derivative:
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs[:2])
        ctx.rest = inputs[2:]

    def backward(ctx: Any, grad: Tensor, grad_ladj: Tensor) -> tuple[Any, ...]:
        pair = backward_op(*ctx.saved_tensors, grad, grad_ladj, *ctx.rest, is_inverse)
        return (*pair, *[None] * len(ctx.rest))

    return Derivative(setup_context, backward)


def _laid_out(run: Function, event: slice) -> Function:
    """A backward whose parameters, and so their gradient, have strides that kernels follow."""
    return lambda x, params, *rest: run(x, by_lines(params, event), *rest)


def bijection(
    name: str, rest: str, *, reference: ModuleType, event: slice,
    cases: Callable[..., Sequence[Case]],
    tolerances: Mapping[torch.dtype, tuple[float, float]],
    costs: tuple[Callable[..., Cost], Callable[..., Cost]], cpp: tuple[Function, Function],
    triton: str, verify_triton: Callable[..., Verdict] = not_double,
    benches: Callable[[str], Sequence[Bench]],
    variants: tuple[Callable[[bool], Sequence[Variant]], Sequence[Variant]],
) -> tuple[OpSpec, OpSpec, OpSpec]:  # fmt: skip
    """(forward, inverse, backward). Pairs are (of values, of the backward): `costs`; `cpp`, whose
    first takes `is_inverse` and returns the implementation; `variants`, whose first takes it too.
    `event` are the axes of the parameters that are x's. `cases(backward=)` gives the sample
    arguments, `reference` and `triton` (a module's name) have functions forward, inverse and
    backward."""
    backward = OpSpec(
        name=f"{name}_backward",
        schema=f"(Tensor x, Tensor params, Tensor grad, Tensor grad_ladj, {rest}, bool inverse)"
               " -> (Tensor, Tensor)",
        reference=reference.backward, fake=_fake_backward, cases=cases(backward=True),
        tolerances=tolerances, cost=costs[1], variants=variants[1],
        cpp=Impl(_laid_out(cpp[1], event), not_double, needs=f"{name}_backward"),
        triton=Impl(_laid_out(lazy(f"{triton}:backward"), event), verify_triton),
    )  # fmt: skip

    def values(direction: str) -> OpSpec:
        is_inverse = direction == "inverse"
        return OpSpec(
            name=f"{name}_{direction}",
            schema=f"(Tensor x, Tensor params, {rest}) -> (Tensor, Tensor)",
            reference=getattr(reference, direction), fake=_fake_values,
            cases=cases(backward=False), tolerances=tolerances, cost=costs[0],
            variants=variants[0](is_inverse),
            cpp=Impl(cpp[0](is_inverse), not_double, needs=f"{name}_values"),
            triton=Impl(lazy(f"{triton}:{direction}"), verify_triton),
            derivative=_derivative(backward, is_inverse), bench=benches(direction),
        )  # fmt: skip

    return values("forward"), values("inverse"), backward
