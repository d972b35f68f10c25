"""Kernels for the slow parts of generative models: a folder per op, up to three backends per op.

>>> import zoo_kernels
>>> z = zoo_kernels.rng.normal(0, torch.arange(4), 784, stream=0, step=0)   # (4, 784)

Every op has a `reference` in plain torch and may have a `cpp` and a `triton` implementation.
Which one runs is decided at each call from the arguments; `backends()` is the table of what is
supported and why not. `ZOO_KERNELS=cpp` or `with backend("cpp"):` forces one, and raises where it
does not support the call. Importing this package imports torch and nothing else; an op's folder is
imported on first use. How an op is written: docs/guides/kernels.md.
"""

__all__ = ["BackendError", "BackendStatus", "backend", "backends", "inline", "ops"]

from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType

from zoo_kernels._dispatch import BackendError, BackendStatus, backend, backend_status, inline
from zoo_kernels._renamed import warn_renamed
from zoo_kernels._spec import OpSpec


def op_folders() -> list[str]:
    """Names of the subpackages; each declares `OPS`, a tuple of OpSpecs."""
    return sorted(m.name for m in iter_modules(__path__) if m.ispkg)


def ops() -> dict[str, OpSpec]:
    """Every op by name; imports all op folders."""
    folders = [import_module(f"{__name__}.{name}") for name in op_folders()]
    return {spec.name: spec for folder in folders for spec in folder.OPS}


def backends() -> list[BackendStatus]:
    """A row for each op and backend: is it supported on this machine, and if not, why not."""
    return [row for spec in ops().values() for row in backend_status(spec.name, spec.impls)]


def __getattr__(name: str) -> ModuleType | type[BackendStatus]:
    if name == "Serves":  # version 0.1
        warn_renamed("zoo_kernels.Serves", "zoo_kernels.BackendStatus")
        return BackendStatus
    if name in op_folders():
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"zoo_kernels has no op or attribute {name!r}; ops: {op_folders()}")
