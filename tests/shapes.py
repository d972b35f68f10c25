"""Checks the shapes in annotations of `zoo_core.nn` in every call that the tests make."""

import importlib
import typing

import beartype  # noqa: F401  # imported before TYPE_CHECKING is set, as are the modules below
import jaxtyping

__all__ = ["check_shapes"]

_CHECKED = ("zoo_core.nn.distributions", "zoo_core.nn.inputs", "zoo_core.nn.masked")
_IMPORTED_BY_THEM = ("zoo_core.rng", "zoo_core.spaces", "zoo_kernels.mixture_logistics")


def check_shapes() -> None:
    """Import the modules with jaxtyping's hook, which lets beartype check every call.

    They import jaxtyping under TYPE_CHECKING, since it is no dependency of the library.
    """
    for name in _IMPORTED_BY_THEM:
        importlib.import_module(name)
    typing.TYPE_CHECKING = True
    try:
        with jaxtyping.install_import_hook(_CHECKED, "beartype.beartype"):
            for name in _CHECKED:
                importlib.import_module(name)
    finally:
        typing.TYPE_CHECKING = False
