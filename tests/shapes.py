"""Checks the shapes in annotations of `zoo_core.nn` in every call that the tests make."""

import functools
import importlib
import random
import typing

import beartype  # imported before TYPE_CHECKING is set, as are the modules below
import jaxtyping

__all__ = ["check_shapes", "checked"]

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
        with jaxtyping.install_import_hook(_CHECKED, f"{__name__}.checked"):
            for name in _CHECKED:
                importlib.import_module(name)
    finally:
        typing.TYPE_CHECKING = False


def checked(function):
    """`function` checked by beartype, which draws the items of a list to look at from `random`."""
    strict = beartype.beartype(function)
    if isinstance(function, type):
        return strict

    @functools.wraps(function)
    def call(*args, **kwargs):
        state = random.getstate()
        try:
            return strict(*args, **kwargs)
        finally:
            random.setstate(state)

    return call
