"""The laws that every op keeps, as plain functions of (spec, case, dtype); no pytest needed.

Each runs under whatever backend is in force and raises AssertionError with numbers. `LAWS` names
those that hold for every case, `OP_LAWS` those that need to be shown once per op.
"""

__all__ = ["LAWS", "OP_LAWS", "arguments", "run"]

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from zoo_kernels import _dispatch
from zoo_kernels._alloc import poison
from zoo_kernels._examples import Case
from zoo_kernels._spec import OpSpec

Args = tuple[Any, ...]


def arguments(case: Case, dtype: torch.dtype) -> Args:
    """The case's arguments, the same at each call."""
    return case.make(torch.Generator().manual_seed(0), dtype)


def _map(f: Callable[[Tensor], Tensor], args: Args) -> Args:
    """`f` on every tensor, those in lists too."""
    lists = [[f(t) for t in a] if _tensors(a) else a for a in args]
    return tuple(f(a) if isinstance(a, Tensor) else a for a in lists)


def _tensors(a: Any) -> bool:
    return isinstance(a, list) and bool(a) and isinstance(a[0], Tensor)


def _floating(a: Any) -> bool:
    return isinstance(a, Tensor) and a.dtype.is_floating_point


def double(args: Args) -> Args:
    return _map(lambda a: a.double() if a.dtype.is_floating_point else a, args)


def _tuple(out: Any) -> tuple[Tensor, ...]:
    return out if isinstance(out, tuple) else tuple(out) if isinstance(out, list) else (out,)


def call(f: Callable[..., Any], spec: OpSpec, args: Args) -> tuple[Tensor, ...]:
    """Outputs of `f(*args)` followed by the arguments it mutates; `args` are left alone."""
    args = _map(lambda a: a.detach().clone(memory_format=torch.preserve_format), args)
    out = f(*args)
    return _results(spec, args, out)


def _results(spec: OpSpec, args: Args, out: Any) -> tuple[Tensor, ...]:
    names = [a.name for a in spec.op._schema.arguments]
    mutated = tuple(args[names.index(name)] for name in spec.mutates)
    return (() if out is None else _tuple(out)) + mutated


def run(spec: OpSpec, args: Args) -> tuple[Tensor, ...]:
    """The op, with every output poisoned before it is written."""
    with poison():
        return call(spec, spec, args)


def _error(actual: Tensor, exact: Tensor, rtol: float, atol: float) -> float:
    """Largest |actual - exact| / (atol + rtol max|exact|); 0 for nothing or equal."""
    if actual.shape != exact.shape:
        raise AssertionError(f"shape {tuple(actual.shape)}, not {tuple(exact.shape)}")
    if torch.equal(actual.isnan(), exact.isnan()) is False:
        raise AssertionError(f"{int(actual.isnan().sum())} NaN, not {int(exact.isnan().sum())}")
    gap = (actual.double() - exact.double()).abs().nan_to_num(0.0, posinf=float("inf"))
    gap = torch.where(actual.double() == exact.double(), 0.0, gap)
    if gap.numel() == 0 or gap.max() == 0:
        return 0.0
    finite = exact.double()[exact.isfinite()].abs()
    scale = float(finite.max()) if finite.numel() else 0.0
    return float(gap.max()) / max(atol + rtol * scale, 1e-300)


def _assert_close(
    spec: OpSpec, dtype: torch.dtype, got: Any, exact: Any, single: Any, what: str
) -> None:
    """Within tolerance, or within twice the error of the reference run in the same dtype."""
    rtol, atol = spec.tolerances[dtype]
    for i, (a, e, s) in enumerate(zip(got, exact, single, strict=True)):
        error, own = _error(a, e, rtol, atol), _error(s, e, rtol, atol)
        if error > max(1.0, 2 * own):
            raise AssertionError(
                f"{spec.name} {what} {i}: {error:.3g} tolerances off "
                f"(the reference itself {own:.3g})"
            )


def _assert_equal(spec: OpSpec, got: Any, wanted: Any, what: str) -> None:
    for i, (a, b) in enumerate(zip(got, wanted, strict=True)):
        if a.dtype != b.dtype or not torch.equal(a.nan_to_num(-77.0), b.nan_to_num(-77.0)):
            raise AssertionError(f"{spec.name} output {i} changes bits: {what}")


def _bitwise(spec: OpSpec) -> bool:
    """The reference is made of torch's reductions, whose order depends on strides and sizes."""
    return spec.row_bitwise and _dispatch.forced() != "reference"


def values_match_the_float64_reference(spec: OpSpec, case: Case, dtype: torch.dtype) -> None:
    args = arguments(case, dtype)
    exact = call(spec.reference, spec, double(args))
    _assert_close(spec, dtype, run(spec, args), exact, call(spec.reference, spec, args), "output")


def two_runs_give_equal_bits(spec: OpSpec, case: Case, dtype: torch.dtype) -> None:
    args = arguments(case, dtype)
    _assert_equal(spec, run(spec, args), run(spec, args), "two runs")


def _sliced(t: Tensor) -> Tensor:
    """The same values as a slice of a bigger tensor, NaN around it."""
    if t.dim() == 0:
        return t
    big = t.new_empty([n + 3 for n in t.shape])
    big.fill_(float("nan") if t.dtype.is_floating_point else 1)
    view = big[tuple(slice(1, 1 + n) for n in t.shape)]
    return view.copy_(t)


def _reversed_storage(t: Tensor) -> Tensor:
    """The same values with the last dimension outermost in memory."""
    return t.movedim(-1, 0).contiguous().movedim(0, -1) if t.dim() > 1 else t


def strides_do_not_matter(spec: OpSpec, case: Case, dtype: torch.dtype) -> None:
    args = arguments(case, dtype)
    with poison():
        plain = call(spec, spec, args)
        for layout in (_sliced, _reversed_storage):
            made = _map(layout, args)
            _assert_same(spec, _results(spec, made, spec(*made)), plain, dtype, layout)


def _assert_same(spec: OpSpec, got: Any, plain: Any, dtype: torch.dtype, layout: Any) -> None:
    if _bitwise(spec):
        _assert_equal(spec, got, plain, f"layout {layout.__name__}")
    else:
        _assert_close(spec, dtype, got, plain, plain, f"layout {layout.__name__}, output")


def _rows(case: Case, args: Args, which: slice | Tensor) -> Args:
    return tuple(a[which] if i in case.rows else a for i, a in enumerate(args))


def _batch(case: Case, args: Args) -> int:
    return len(args[case.rows[0]]) if case.rows else 0


def a_row_does_not_depend_on_its_batch(spec: OpSpec, case: Case, dtype: torch.dtype) -> None:
    args = arguments(case, dtype)
    whole = run(spec, args)
    for i in range(min(_batch(case, args), 3)):
        alone = run(spec, _rows(case, args, slice(i, i + 1)))
        wanted = tuple(out[i : i + 1] for out in whole)
        if _bitwise(spec):
            _assert_equal(spec, alone, wanted, f"row {i} alone and in its batch")
        else:
            _assert_close(spec, dtype, alone, wanted, wanted, f"row {i} alone, output")


def an_empty_batch_gives_empty_outputs(spec: OpSpec, case: Case, dtype: torch.dtype) -> None:
    args = arguments(case, dtype)
    if _batch(case, args):
        empty = run(spec, _rows(case, args, slice(0, 0)))
        whole = run(spec, args)
        shapes = [tuple(out.shape) for out in empty]
        assert shapes == [(0, *out.shape[1:]) for out in whole], f"{spec.name}: {shapes}"


def nan_stays_in_its_row(spec: OpSpec, case: Case, dtype: torch.dtype) -> None:
    args = arguments(case, dtype)
    clean = run(spec, args)
    for i in case.rows:
        if not (_floating(args[i]) and args[i].numel() and len(args[i]) > 1):
            continue
        bad = args[i].clone()
        bad[0] = float("nan")
        dirty = run(spec, (*args[:i], bad, *args[i + 1 :]))
        _assert_equal(spec, [o[1:] for o in dirty], [o[1:] for o in clean], "NaN in row 0")
        floats = [out for out in dirty if _floating(out) and out.numel()]
        assert not floats or any(out[0].isnan().any() for out in floats), (
            f"{spec.name}: NaN in argument {i} vanished without a trace"
        )


def _wanting_grad(args: Args) -> Args:
    return _map(lambda a: a.detach().clone().requires_grad_(a.dtype.is_floating_point), args)


def _gradients(f: Callable[..., Any], args: Args) -> list[Tensor]:
    args = _wanting_grad(args)
    outputs = [o for o in _tuple(f(*args)) if o.requires_grad]
    weights = [torch.linspace(-1, 2, o.numel()).reshape(o.shape).to(o) for o in outputs]
    inputs = [a for a in args if _floating(a)]
    grads = torch.autograd.grad(outputs, inputs, weights, allow_unused=True)
    return _zeros_for_none(inputs, grads)


def _zeros_for_none(inputs: list[Tensor], grads: tuple[Tensor | None, ...]) -> list[Tensor]:
    return [torch.zeros_like(a) if g is None else g for a, g in zip(inputs, grads, strict=True)]


def gradients_match_the_float64_reference(spec: OpSpec, case: Case, dtype: torch.dtype) -> None:
    if spec.derivative is None:
        return
    args = arguments(case, dtype)
    with poison():
        got = _gradients(spec, args)
    exact, single = _gradients(spec.reference, double(args)), _gradients(spec.reference, args)
    _assert_close(spec, dtype, got, exact, single, "gradient")


def forward_mode_is_right_or_raises(spec: OpSpec, case: Case, dtype: torch.dtype) -> None:
    """Never a silent zero tangent."""
    args = arguments(case, dtype)
    positions = [i for i, a in enumerate(args) if _floating(a)]
    if not (spec.differentiable and positions):
        return

    def of_floats(f: Callable[..., Any]) -> Callable[..., Any]:
        def g(*floats: Tensor) -> tuple[Tensor, ...]:
            full = list(args)
            for i, a in zip(positions, floats, strict=True):
                full[i] = a
            return tuple(o for o in _tuple(f(*full)) if o.dtype.is_floating_point)

        return g

    primals = tuple(args[i] for i in positions)
    tangents = tuple(torch.ones_like(p) for p in primals)
    wanted = torch.func.jvp(of_floats(spec.reference), primals, tangents)[1]
    try:
        got = torch.func.jvp(of_floats(spec), primals, tangents)[1]
    except (NotImplementedError, RuntimeError):
        return
    _assert_close(spec, dtype, got, wanted, wanted, "tangent")


def second_order_is_right_or_raises(spec: OpSpec, case: Case, dtype: torch.dtype) -> None:
    """Double backward works, or raises naming the op; never a silent zero."""
    inputs = [a for a in arguments(case, dtype) if _floating(a)]
    if spec.derivative is None or not all(a.numel() for a in inputs):
        return

    def twice(f: Callable[..., Any], args: Args) -> list[Tensor]:
        args = _wanting_grad(args)
        inputs = [a for a in args if _floating(a)]
        outputs = [o.square().sum() for o in _tuple(f(*args)) if o.requires_grad]
        first = torch.autograd.grad(outputs, inputs, create_graph=True, allow_unused=True)
        norms = [g.square().sum() for g in first if g is not None]
        second = torch.autograd.grad(norms, inputs, allow_unused=True)
        return _zeros_for_none(inputs, second)

    try:
        got = twice(spec, arguments(case, dtype))
    except NotImplementedError as error:
        assert "zoo::" in str(error), f"{spec.name}: raises without an op's name: {error}"
        return
    args = arguments(case, dtype)
    exact, single = twice(spec.reference, double(args)), twice(spec.reference, args)
    _assert_close(spec, dtype, got, exact, single, "second derivative")


def opcheck_passes(spec: OpSpec, case: Case, dtype: torch.dtype) -> None:
    args = arguments(case, dtype)
    if spec.derivative:
        args = _wanting_grad(args)
    # the autograd test differentiates through mutation-free ops only
    torch.library.opcheck(spec.op, args)


def compiles_into_one_graph(spec: OpSpec, case: Case, dtype: torch.dtype) -> None:
    args = arguments(case, dtype)
    torch.compiler.reset()
    compiled = torch.compile(lambda *a: spec(*a), fullgraph=True, backend="aot_eager")
    _assert_equal(spec, call(compiled, spec, args), call(spec, spec, args), "under torch.compile")


def costs_are_counted(spec: OpSpec, case: Case, dtype: torch.dtype) -> None:
    cost = spec.cost(*arguments(case, dtype))
    assert cost.bytes >= 0 and cost.flops >= 0


LAWS = (
    values_match_the_float64_reference,
    two_runs_give_equal_bits,
    strides_do_not_matter,
    a_row_does_not_depend_on_its_batch,
    an_empty_batch_gives_empty_outputs,
    nan_stays_in_its_row,
    gradients_match_the_float64_reference,
    costs_are_counted,
)
OP_LAWS = (
    forward_mode_is_right_or_raises,
    second_order_is_right_or_raises,
    opcheck_passes,
    compiles_into_one_graph,
)
