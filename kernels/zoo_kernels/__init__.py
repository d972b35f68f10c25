"""Kernels for the slow parts of generative models: one op a folder, three backends an op.

>>> import zoo_kernels
>>> z = zoo_kernels.rng.normal(0, torch.arange(4), 784, stream=0, step=0)   # (4, 784)

Every op has a `reference` in plain torch and may have a `cpp` and a `triton` implementation.
Which one runs is decided at each call from the arguments; `backends()` tabulates what serves
what and why not. `ZOO_KERNELS=cpp` or `with backend("cpp"):` forces one, and raises where it
cannot serve. Importing this package imports torch and nothing else; an op's folder is imported
on first use. How an op is written: docs/kernels.md.
"""

__all__ = ["BackendError", "Serves", "backend", "backends", "ops"]

from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType

from zoo_kernels._dispatch import BackendError, Serves, backend, serves
from zoo_kernels._spec import OpSpec


def op_folders() -> list[str]:
    """Names of the subpackages; each declares `OPS`, a tuple of OpSpecs."""
    return sorted(m.name for m in iter_modules(__path__) if m.ispkg)


def ops() -> dict[str, OpSpec]:
    """Every op by name; imports all op folders."""
    folders = [import_module(f"{__name__}.{name}") for name in op_folders()]
    return {spec.name: spec for folder in folders for spec in folder.OPS}


def backends() -> list[Serves]:
    """One row an op and backend: does it serve on this machine, and if not, why not."""
    return [row for spec in ops().values() for row in serves(spec.name, spec.impls)]


def __getattr__(name: str) -> ModuleType:
    if name in op_folders():
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"zoo_kernels has no op or attribute {name!r}; ops: {op_folders()}")
