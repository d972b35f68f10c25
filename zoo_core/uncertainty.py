"""Standard errors that are known and that are not, as numbers, as text and in JSON.

An error that is not known is infinite: whatever is divided by it shows nothing, and whatever it
bounds is not bounded. It prints as `?` and is null in JSON, which has no infinite numbers.
"""

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["UNKNOWN", "finite_or_null", "from_json", "mean_error", "plus_minus"]

UNKNOWN = math.inf


def mean_error(values: "Tensor") -> float:
    """Standard error of the mean of independent values (N,); unknown of fewer than two.

    It is unknown as well where the values have no finite spread, for one of them is infinite.
    """
    if len(values) < 2 or not bool(values.isfinite().all()):
        return UNKNOWN
    return float(values.double().std()) / math.sqrt(len(values))


def plus_minus(error: float | None, form: str = ".3f") -> str:
    """`+- 0.012`, or `+- ?` where the error is not known (None is how JSON says it)."""
    return f"+- {error:{form}}" if error is not None and math.isfinite(error) else "+- ?"


def finite_or_null(value: Any) -> Any:
    """The JSON form of numbers, also within lists and mappings: null for what is not finite."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite_or_null(item) for key, item in value.items()}
    return [finite_or_null(item) for item in value] if isinstance(value, list | tuple) else value


def from_json(value: float | None, null: float = UNKNOWN) -> float:
    """A number as it was recorded; `null` is what a missing one stands for."""
    return null if value is None else float(value)
