"""Standard errors, known and unknown: as numbers, in text and in JSON.

An unknown standard error is infinite, so that a difference divided by it is never significant. It
prints as `?`, and is null in JSON, which has no infinite numbers.
"""

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["UNKNOWN", "finite_or_null", "from_json", "mean_error", "plus_minus"]

UNKNOWN = math.inf


def mean_error(values: "Tensor") -> float:
    """The standard error of the mean of independent values (N,).

    It is unknown for fewer than two values, and if a value is infinite.
    """
    if len(values) < 2 or not bool(values.isfinite().all()):
        return UNKNOWN
    return float(values.double().std()) / math.sqrt(len(values))


def plus_minus(error: float | None, form: str = ".3f") -> str:
    """`+- 0.012`, or `+- ?` if the error is unknown, which is None in JSON.

    >>> plus_minus(0.0123), plus_minus(UNKNOWN)
    ('+- 0.012', '+- ?')
    """
    return f"+- {error:{form}}" if error is not None and math.isfinite(error) else "+- ?"


def finite_or_null(value: Any) -> Any:
    """The JSON form of numbers, also inside lists and dicts: None if they are not finite."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite_or_null(item) for key, item in value.items()}
    return [finite_or_null(item) for item in value] if isinstance(value, list | tuple) else value


def from_json(value: float | None, null: float = UNKNOWN) -> float:
    """A recorded number; `null` is the value of a missing one."""
    return null if value is None else float(value)
