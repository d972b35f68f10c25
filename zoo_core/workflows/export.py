"""A model's function as a program that runs without this package: torch.export's, or ONNX.

    log_prob(x, cond)      of a `Density`
    denoise(x_t, t, cond)  of a `Denoiser`
    generate(z, cond)      of a `Generator`

The program holds the weights and the operations of plain torch: in place of a kernel stands its
reference. It checks nothing; `log_likelihood` and `sample` do that around the function.
"""

import builtins
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram
from torch.fx.experimental.symbolic_shapes import is_concrete_int

from zoo_core.catalog.capabilities import Generator
from zoo_core.catalog.components import likelihood
from zoo_core.errors import NoCapabilityError, OutputError, PluginError
from zoo_core.files import atomic_path
from zoo_core.likelihoods.exact import Exact
from zoo_core.model import FUNCTIONS, GenerativeModel
from zoo_core.modes import evaluating
from zoo_core.spaces import Condition, Event
from zoo_kernels import inline

__all__ = ["SUFFIXES", "any_batch", "example_inputs", "export", "function_of", "write_program"]

SUFFIXES = (".pt2", ".onnx")
"""torch.export's files, which `torch.export.load` reads, and ONNX's."""
_ONNX_OPSET = 20


def export(model: GenerativeModel, *, batch: int = 2) -> ExportedProgram:
    """The program of the model's function for batches of any size, by `torch.export`.

        zoo.export(zoo.load("made.digits")).module()(x)

    Where a model's own code fixes the size, it is `batch`; `any_batch` tells. A condition is an
    input wherever the model has one. Raises `NoCapabilityError` for a model without a function,
    or that cannot be traced, such as one whose loops depend on values.
    """
    function_of(model)
    inputs = example_inputs(model, batch)
    shapes = tuple(None if t is None else {0: Dim.AUTO} for t in inputs)
    try:
        with evaluating(model), inline(), _symbolic_len():
            return torch.export.export(model, inputs, dynamic_shapes=(shapes,), strict=False)
    except RuntimeError as error:  # of which torch derives those of its tracers
        raise NoCapabilityError(
            f"{type(model).__name__} cannot be traced by torch.export: "
            f"{str(error).strip().splitlines()[0]}",
            hint="its sampler and its likelihood run as they are",
        ) from error


@contextmanager
def _symbolic_len() -> Iterator[None]:
    """Inside, `len(x)` of a tensor is `x.shape[0]`, which the tracer follows.

    Python turns what `Tensor.__len__` returns into a number, and the program would be of that
    batch size alone.
    """
    length = builtins.len

    def symbolic(x: Any) -> Any:
        return x.shape[0] if isinstance(x, Tensor) and x.ndim else length(x)

    builtins.len = symbolic
    try:
        yield
    finally:
        builtins.len = length


def write_program(model: GenerativeModel, path: str | Path, *, batch: int = 2) -> ExportedProgram:
    """Write the program of `export` to a .pt2 or .onnx file; ONNX needs `density-zoo[onnx]`."""
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise OutputError(f"{path} ends in neither {' nor '.join(SUFFIXES)}.")
    if path.suffix == ".onnx":
        _require_onnx()
    program = export(model, batch=batch)
    with atomic_path(path) as temporary:
        if path.suffix == ".pt2":
            with temporary.open("wb") as file:  # of a path it would ask for the suffix
                torch.export.save(program, file)
        else:
            _write_onnx(program, temporary)
    return program


def _write_onnx(program: ExportedProgram, path: Path) -> None:
    made = torch.onnx.export(program, (), opset_version=_ONNX_OPSET, verbose=False)
    assert made is not None
    made.save(str(path))


def _require_onnx() -> None:
    try:
        import onnxscript  # noqa: F401
    except ModuleNotFoundError as error:
        raise PluginError(
            f"ONNX programs need {error.name}.", hint="pip install 'density-zoo[onnx]'"
        ) from None


def function_of(model: GenerativeModel) -> str:
    """The name of the function that calling the model means; raises `NoCapabilityError`."""
    for name in FUNCTIONS:
        if hasattr(type(model), name):
            return name
    raise NoCapabilityError(
        f"{type(model).__name__} has none of {', '.join(FUNCTIONS)}.",
        hint="models without them have a bound on log p, whose draws a program would fix",
    )


def any_batch(program: ExportedProgram) -> bool:
    """Whether a program takes batches of any size."""
    named = program.graph_signature.user_inputs
    nodes = [n for n in program.graph.nodes if n.op == "placeholder" and n.name in named]
    values = [n.meta["val"] for n in nodes if isinstance(n.meta.get("val"), Tensor)]
    return not any(is_concrete_int(value.shape[0]) for value in values)


def example_inputs(model: GenerativeModel, batch: int) -> tuple[Tensor | None, ...]:
    """Arguments of the model's function, of the right shapes and types: data, and a condition."""
    cond = _condition(model.condition, batch)
    cond = None if cond is None else cond.to(model.device)
    name = function_of(model)
    if name == "log_prob":
        return (_zeros(model.event, batch, model, continuous=not _of_integers(model)), cond)
    if name == "denoise":
        x_t = _zeros(model.event, batch, model, continuous=True)
        return (x_t, x_t.new_full((batch,), 0.5), cond)
    prior = cast(Generator, model).prior(batch, cond)
    return (prior.mean.detach().clone(), cond)


def _of_integers(model: GenerativeModel) -> bool:
    """Whether `log_prob` takes the integers themselves: dequantized flows take reals."""
    return model.event.discrete and isinstance(likelihood(model, None, {}), Exact)


def _zeros(event: Event, batch: int, model: GenerativeModel, *, continuous: bool) -> Tensor:
    dtype = model.dtype if continuous or not event.discrete else torch.int64
    return torch.zeros(batch, *event.shape, dtype=dtype, device=model.device)


def _condition(condition: Condition, batch: int) -> Tensor | None:
    """The first class, or zeros, of every part."""
    if condition.kind == "none":
        return None
    parts = {
        slot.name: torch.zeros(
            slot.space.shape, dtype=torch.int64 if slot.space.discrete else None
        )
        for slot in condition.slots
    }
    given = parts if condition.kind == "group" else parts["cond"]
    found = condition.check(given, batch)
    return None if found is None else found.contiguous()
