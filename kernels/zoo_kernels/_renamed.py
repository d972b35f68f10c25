"""Names of version 0.1 that keep working, with a warning."""

import warnings
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def warn_renamed(old: str, new: str, *, stacklevel: int = 3) -> None:
    """By default of the line that called the caller of this."""
    warnings.warn(f"{old} is now {new}", DeprecationWarning, stacklevel=stacklevel)


def renamed_argument(old: str, new: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Let a function take the keyword `old` for `new`."""

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        @wraps(function)
        def call(*args: P.args, **keywords: P.kwargs) -> T:
            if old in keywords:
                warn_renamed(f"{function.__name__}({old}=)", f"{function.__name__}({new}=)")
                keywords[new] = keywords.pop(old)
            return function(*args, **keywords)

        return call

    return decorate
