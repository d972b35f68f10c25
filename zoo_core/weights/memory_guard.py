"""A guard against configs that ask for far more memory than their weights need."""

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
"""Slack for constructors that register a parameter and replace it, as weight norm does."""
_TENSORS_FACTOR, _TENSORS_SLACK = 16, 1 << 12
"""Slack for modules without tensors, such as containers and activations."""


@contextmanager
def memory_guard(elements: int, tensors: int, where: str) -> Iterator[None]:
    """Raise if this thread builds a model much larger than its weights inside the block.

    The weights are `elements` numbers in `tensors` tensors. Parameters are counted when they are
    registered, before their memory is used by initialization, so a config of absurd numbers is
    refused in time. Modules are counted as well: each costs memory and time.

    Raises `IntegrityError` beyond the limit, and `ConfigError` if the model cannot be built.
    """
    limits = {
        "weights": (elements, _FACTOR * elements + _SLACK),
        "tensors": (tensors, _TENSORS_FACTOR * tensors + _TENSORS_SLACK),
    }
    counts, thread = dict.fromkeys(limits, 0), get_ident()

    def count(what: str, more: int) -> None:
        if get_ident() != thread:
            return
        counts[what] += more
        expected, limit = limits[what]
        if counts[what] > limit:
            raise IntegrityError(
                f"{where}: its config does not fit the model's {expected:,} {what}; it asks for "
                f"more than {limit:,}."
            )

    def parameter(module: nn.Module, name: str, value: nn.Parameter | None) -> None:
        count("tensors", 1)
        count("weights", 0 if value is None else value.numel())

    def other(module: nn.Module, name: str, value: object) -> None:
        count("tensors", 1)

    handles = [
        register_module_parameter_registration_hook(parameter),
        register_module_buffer_registration_hook(other),
        register_module_module_registration_hook(other),
    ]
    try:
        yield
    except (RuntimeError, OverflowError, MemoryError) as error:
        reason = str(error).partition("\n")[0]
        raise ConfigError(f"{where}: no model can be built of its config ({reason}).") from error
    finally:
        for handle in handles:
            handle.remove()
