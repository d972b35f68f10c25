"""Building a model no larger than the weights it is built for."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import get_ident

from torch import nn
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)

from zoo_core.errors import ConfigError, IntegrityError

__all__ = ["memory_guard"]

_FACTOR, _SLACK = 4, 1 << 20
"""Constructors may register a parameter and replace it, as weight normalization does."""
_PARTS_FACTOR, _PARTS_SLACK = 16, 1 << 12
"""A tensor of the weights may stand in a few modules that hold none: sequences, activations."""


@contextmanager
def memory_guard(elements: int, tensors: int, where: str) -> Iterator[None]:
    """Inside the block this thread makes a model little larger than its weights, or it ends.

    The weights are so many `elements` in so many `tensors`. Memory of a parameter is reserved
    when it is registered and used when it is initialized, so that a config of absurd numbers ends
    before it takes any. Modules, however small, cost memory and time of their own.
    """
    limits = {
        "weights": (elements, _FACTOR * elements + _SLACK),
        "tensors": (tensors, _PARTS_FACTOR * tensors + _PARTS_SLACK),
    }
    found, thread = dict.fromkeys(limits, 0), get_ident()

    def count(what: str, more: int) -> None:
        if get_ident() != thread:
            return
        found[what] += more
        have, limit = limits[what]
        if found[what] > limit:
            raise IntegrityError(
                f"{where}: its config does not fit the model's {have:,} {what}; it asks for more "
                f"than {limit:,}."
            )

    def parameter(module: nn.Module, name: str, value: nn.Parameter | None) -> None:
        count("tensors", 1)
        count("weights", 0 if value is None else value.numel())

    def part(module: nn.Module, name: str, value: object) -> None:
        count("tensors", 1)

    handles = [
        register_module_parameter_registration_hook(parameter),
        register_module_buffer_registration_hook(part),
        register_module_module_registration_hook(part),
    ]
    try:
        yield
    except (RuntimeError, OverflowError, MemoryError) as error:
        reason = str(error).partition("\n")[0]
        raise ConfigError(f"{where}: no model can be built of its config ({reason}).") from error
    finally:
        for handle in handles:
            handle.remove()
