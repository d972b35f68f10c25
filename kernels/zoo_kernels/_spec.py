"""OpSpec: everything about one op in one frozen value.

From it come the torch op `zoo::<name>`, its backends, its derivative, and (in
`zoo_kernels.testing`, `benchmarks/`) its tests, resource budgets and benchmark rows.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import Parameter

from zoo_kernels import _dispatch
from zoo_kernels._dispatch import Impl
from zoo_kernels._examples import Bench, Case, Cost, Examples, Variant

__all__ = ["Derivative", "Impl", "OpSpec"]


@dataclass(frozen=True)
class Derivative:
    """First-order reverse mode: `setup_context(ctx, inputs, output)` saves what
    `backward(ctx, *grads)` needs to return a gradient (or None) an argument, by other OpSpecs."""

    setup_context: Callable[..., None]
    backward: Callable[..., Any]


@dataclass(frozen=True, eq=False)
class OpSpec:
    """`zoo::<name>`; calling the spec calls the op.

    `reference(*args)` is the definition in plain torch, differentiable by autograd to any order
    and in forward mode unless `differentiable` is False. `fake(*args)` gives outputs of the right
    shape and dtype without data. `tolerances` maps each supported dtype to (rtol, atol) against
    the reference in float64; (0, 0) demands equal bits. `row_bitwise`: a row's bits do not depend
    on its batch in any non-reference backend. `examples()` is called, and its module imported,
    when tests or benchmarks first ask for `cases`, `cost`, `bench` or `variants`.
    """

    name: str
    schema: str
    reference: Callable[..., Any]
    fake: Callable[..., Any]
    examples: Callable[[], Examples]
    tolerances: Mapping[torch.dtype, tuple[float, float]]
    cpp: Impl | None = None
    triton: Impl | None = None
    derivative: Derivative | None = None
    differentiable: bool = True
    mutates: tuple[str, ...] = ()
    row_bitwise: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "impls", self._implementations())
        object.__setattr__(self, "op", _register(self))
        object.__setattr__(self, "node", self.derivative and _node(self, self.derivative))

    impls: Mapping[str, Impl] = field(init=False, repr=False)
    op: "torch._ops.OpOverload[..., Any]" = field(init=False, repr=False)
    node: "type[torch.autograd.Function] | None" = field(init=False, repr=False)

    @cached_property
    def _loaded(self) -> Examples:
        return self.examples()

    @property
    def cases(self) -> Sequence[Case]:
        return self._loaded.cases

    @property
    def cost(self) -> Callable[..., Cost]:
        return self._loaded.cost

    @property
    def bench(self) -> Sequence[Bench]:
        return self._loaded.bench

    @property
    def variants(self) -> Sequence[Variant]:
        return self._loaded.variants

    def _implementations(self) -> Mapping[str, Impl]:
        optional = {"cpp": self.cpp, "triton": self.triton}
        return {"reference": Impl(self.reference)} | {k: v for k, v in optional.items() if v}

    def __call__(self, *args: Any) -> Any:
        """The op; under forward mode or torch.func, the reference itself, which differentiates.
        Where nothing watches (tracing, mode, profiler), the backend, or with gradients a node
        of autograd around it: the dispatcher's own takes 30 us more."""
        if _dispatch.inlined():
            return self.reference(*args)
        if self.differentiable and _transformed(args):
            return self._transform(*args)
        if self.mutates or _observed(args):
            return self.op(*args)
        if not _differentiated(args):
            return self.direct(*args)
        return self.op(*args) if self.node is None else self.node.apply(*args)

    def direct(self, *args: Any) -> Any:
        """Choose a backend and run it, skipping the dispatcher (about 10 us): no autograd, no
        compile. For loops inside another op's implementation."""
        return _dispatch.run(self.name, self.impls, args)

    def _transform(self, *args: Any) -> Any:
        if self.mutates:
            raise NotImplementedError(
                f"zoo::{self.name} writes its arguments {self.mutates}: "
                "no forward mode or torch.func"
            )
        if _dispatch.forced() not in (None, "reference"):
            raise _dispatch.BackendError(
                f"backend {_dispatch.forced()!r} was forced but zoo::{self.name} has no rule for "
                "forward mode and torch.func; its reference has"
            )
        return self.reference(*args)


def _transformed(args: tuple[Any, ...]) -> bool:
    """Inside torch.func, or holding a tensor with a forward-mode tangent?"""
    if torch._C._functorch.maybe_current_level() is not None:
        return True
    if forward_ad._current_level < 0:  # outside of every `dual_level` there are no tangents
        return False
    return any(isinstance(a, Tensor) and _tangent(a) is not None for a in args)


def _tangent(t: Tensor) -> Tensor | None:
    tangent: Tensor | None = forward_ad.unpack_dual(t).tangent
    return tangent


def needs_dispatch(args: tuple[Any, ...]) -> bool:
    """Does a transform, gradient, compiler, mode or profiler have to see these arguments' use?"""
    return _transformed(args) or _needs_dispatcher(args)


def _needs_dispatcher(args: tuple[Any, ...]) -> bool:
    """Would the dispatcher do more than run the backend?"""
    return _observed(args) or _differentiated(args)


def _observed(args: tuple[Any, ...]) -> bool:
    """Does a compiler, a mode, the profiler or a tensor of a class of its own watch the call?"""
    if (
        torch.compiler.is_compiling()
        or torch._C._len_torch_dispatch_stack()
        or torch._C._len_torch_function_stack()
        or torch._C._autograd._profiler_enabled()
        or torch._C._get_tracing_state() is not None
    ):
        return True
    return any(type(t) is not Tensor and type(t) is not Parameter for t in _tensors(args))


def _differentiated(args: tuple[Any, ...]) -> bool:
    return torch.is_grad_enabled() and any(t.requires_grad for t in _tensors(args))


def _tensors(args: tuple[Any, ...]) -> Iterator[Tensor]:
    for a in args:
        if isinstance(a, Tensor):
            yield a
        elif isinstance(a, (list, tuple)):
            yield from a


def _register(spec: OpSpec) -> "torch._ops.OpOverload[..., Any]":
    def body(*args: Any) -> Any:
        return spec.direct(*args)

    op = torch.library.custom_op(
        f"zoo::{spec.name}", body, mutates_args=spec.mutates, schema=spec.schema
    )
    op.register_fake(spec.fake)
    if not spec.mutates:
        derivative = spec.derivative or _refusal(spec)
        op.register_autograd(derivative.backward, setup_context=derivative.setup_context)
    return op._opoverload


def _node(spec: OpSpec, derivative: Derivative) -> type[torch.autograd.Function]:
    """The op and its derivative as a function of autograd, for calls that nothing watches."""

    def forward(*args: Any) -> Any:
        return spec.direct(*args)

    return type(
        f"zoo_{spec.name}",
        (torch.autograd.Function,),
        {
            "forward": staticmethod(forward),
            "setup_context": staticmethod(derivative.setup_context),
            "backward": staticmethod(derivative.backward),
        },
    )


def _refusal(spec: OpSpec) -> Derivative:
    """The derivative of an op that has none (a backward, a sampler): an error with its name."""

    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        pass

    def backward(ctx: Any, *grads: Any) -> Any:
        raise NotImplementedError(
            f"zoo::{spec.name} has no derivative (double backward through a kernel?); "
            f"its reference, {spec.reference.__module__}.{spec.reference.__name__}, has"
        )

    return Derivative(setup_context, backward)
