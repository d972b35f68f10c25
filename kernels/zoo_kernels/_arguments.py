"""The arguments of an op by name, which the dispatcher passes by position."""

from collections.abc import Iterator
from typing import Any

__all__ = ["Arguments"]


class Arguments:
    """Base of frozen dataclasses whose fields are an op's arguments in the order of its schema.

    `op(*StepArguments(x=x, ...))` calls the op; `a = StepArguments(*args)` names what it got.
    """

    def __iter__(self) -> Iterator[Any]:
        return iter(vars(self).values())
