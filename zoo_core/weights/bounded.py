"""Building a model no larger than the weights it is built for."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import get_ident

from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from zoo_core.errors import ConfigError, IntegrityError

__all__ = ["bounded"]

_FACTOR, _SLACK = 4, 1 << 20
"""Constructors may register a parameter and replace it, as weight normalization does."""


@contextmanager
def bounded(elements: int, where: str) -> Iterator[None]:
    """Inside the block this thread registers little more parameters than `elements`, or it ends.

    Memory of a parameter is reserved when it is registered and used when it is initialized, so
    that a config of absurd numbers ends before it takes any.
    """
    limit = _FACTOR * elements + _SLACK
    found, thread = 0, get_ident()

    def count(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal found
        if parameter is not None and get_ident() == thread:
            found += parameter.numel()
            if found > limit:
                raise IntegrityError(
                    f"{where}: its config does not fit the model's {elements:,} weights; it asks "
                    f"for more than {limit:,}."
                )

    handle = register_module_parameter_registration_hook(count)
    try:
        yield
    except (RuntimeError, OverflowError, MemoryError) as error:
        reason = str(error).partition("\n")[0]
        raise ConfigError(f"{where}: no model can be built of its config ({reason}).") from error
    finally:
        handle.remove()
