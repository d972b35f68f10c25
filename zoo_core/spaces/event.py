"""Events: what one x is, which values it may have, and how networks see them.

An event is one x: integers 0..K-1 or reals in a range, of a fixed shape, or a sequence of tokens.
Batches put B first. Images are (C, H, W).
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from zoo_core.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch
    from torch import Tensor

__all__ = ["Event", "Tokens", "as_tensor", "chunks", "positive", "rescale_levels", "shape_text"]

_CHECKED_VALUES = 1 << 22


@dataclass(frozen=True)
class Event:
    """The shape and values of one x: integers 0..K-1 with `levels` K, else reals in [low, high].

    >>> Event((1, 28, 28), levels=256).dims
    784
    >>> print(Event((2,), low=0.0))
    reals in [0, inf] of shape 2
    """

    shape: tuple[int, ...]
    levels: int | None = None
    low: float | None = None
    high: float | None = None

    unit: ClassVar[Literal["dim", "token"] | None] = "dim"
    """What a log-likelihood is divided by: bits per dim, nats per token, or nothing."""

    @property
    def discrete(self) -> bool:
        """Whether the values are integers."""
        return self.levels is not None

    @property
    def dims(self) -> int:
        """The number D of values in an event."""
        return math.prod(self.shape)

    def __str__(self) -> str:
        shape = "x".join(map(str, self.shape)) or "scalar"
        if self.discrete:
            return f"integers 0..{(self.levels or 1) - 1} of shape {shape}"
        low = "-inf" if self.low is None else f"{self.low:g}"
        high = "inf" if self.high is None else f"{self.high:g}"
        return f"reals in [{low}, {high}] of shape {shape}"

    def record(self) -> dict[str, Any]:
        """The JSON form."""
        return dataclasses.asdict(self)

    def holds(self, other: "Event") -> bool:
        """Whether events of `other` are events of this space: the same integers, or a range of
        reals inside this one's."""
        if type(self) is not type(other) or self.shape != other.shape:
            return False
        if self.levels is not None or other.levels is not None:
            return self.levels == other.levels
        above = self.low is None or (other.low is not None and self.low <= other.low)
        return above and (
            self.high is None or (other.high is not None and self.high >= other.high)
        )

    def to_network(self, x: "Tensor", dtype: "torch.dtype | None" = None) -> "Tensor":
        """Events (B, *S) on the scale of networks: integers as 2 x / (K - 1) - 1, reals unchanged.

        The result is in `dtype`, by default torch's default.
        """
        import torch

        dtype = dtype or torch.get_default_dtype()
        return x.to(dtype) if self.levels is None else rescale_levels(x, self.levels, dtype)

    def from_network(self, y: "Tensor") -> "Tensor":
        """The nearest events to y (B, *S) on the scale of networks, the inverse of `to_network`.

            x = round((y + 1) (K - 1) / 2), clipped to 0..K-1

        for integers; y clipped to [low, high] for reals.
        """
        if self.levels is not None:
            top = self.levels - 1
            return ((y.float() + 1) / (2 / top)).round().clamp(0, top).long()
        return y if self.low is None and self.high is None else y.clamp(self.low, self.high)

    def check(
        self, x: Any, *, device: "torch.device | str | None" = None, name: str = "x"
    ) -> "Tensor":
        """`x` as a tensor (B, *shape) of such events: int64 if discrete, else floating point.

        It stays on its device unless `device` names another. Raises `DataError` if it has another
        shape, dtype or value, or is empty. `name` is what messages call it.
        """
        x = self.check_shape(x, name=name)
        return (self._integers(x, name) if self.discrete else self._reals(x, name)).to(device)

    def check_shape(self, x: Any, *, name: str = "x") -> "Tensor":
        """`x` as a tensor (B, *shape) with B of at least 1, its values unseen."""
        events = as_tensor(x, name)
        shape = tuple(events.shape)
        if shape[1:] != self.shape or len(shape) != len(self.shape) + 1:
            expected = shape_text(("B", *self.shape))
            raise DataError(f"{name} has shape {shape}; expected {expected}: {self}.")
        if shape[0] == 0:
            raise DataError(f"{name} is an empty batch; give at least one event: {self}.")
        return events

    def check_values(self, x: Any, *, name: str = "x") -> "Tensor":
        """Events as `check` lets them in, but as they are: no copy of all of them is made.

        Integers keep their type, so that a batch at a time may be converted by `check`.
        """
        events = self.check_shape(x, name=name)
        for part in chunks(events, self.dims):
            self.check(part, name=name)
        return events

    def _integers(self, x: "Tensor", name: str) -> "Tensor":
        if x.is_floating_point() or x.is_complex():
            raise DataError(
                f"{name} has dtype {x.dtype}; expected integers: {self}.",
                hint="quantize first, e.g. x.round().long()",
                command="store the values as integers",
            )
        low, high = int(x.min()), int(x.max())
        if low < 0 or high >= (self.levels or 0):
            raise DataError(f"{name} has values from {low} to {high}; expected {self}.")
        return x.long()

    def _reals(self, x: "Tensor", name: str) -> "Tensor":
        if not x.is_floating_point():
            raise DataError(f"{name} has dtype {x.dtype}; expected floating point: {self}.")
        if not bool(x.isfinite().all()):
            raise DataError(f"{name} holds NaN or infinite values; expected {self}.")
        low, high = x.min(), x.max()  # compared in the dtype of x, in which a bound may be rounded
        if (self.low is not None and bool(low < self.low)) or (
            self.high is not None and bool(high > self.high)
        ):
            raise DataError(
                f"{name} has values from {float(low):g} to {float(high):g}; expected {self}."
            )
        return x


@dataclass(frozen=True, init=False)
class Tokens(Event):
    """A sequence of `length` tokens 0..vocabulary-1: an event, or a condition.

    Its likelihoods are nats per token, never bits/dim: a token is no quantized brightness. As a
    condition it may be `optional`.
    """

    optional: bool = False

    unit = "token"

    def __init__(self, length: int, vocabulary: int, *, optional: bool = False) -> None:
        positive(length=length, vocabulary=vocabulary)
        for name, value in (
            ("shape", (length,)),
            ("levels", vocabulary),
            ("low", None),
            ("high", None),
            ("optional", optional),
        ):
            object.__setattr__(self, name, value)

    @property
    def length(self) -> int:
        """The number of tokens of an event."""
        return self.shape[0]

    @property
    def vocabulary(self) -> int:
        """The number of different tokens, 0..vocabulary-1."""
        return self.levels or 0

    def __str__(self) -> str:
        return f"{self.length} tokens 0..{self.vocabulary - 1}"

    def record(self) -> dict[str, Any]:
        return {"kind": "tokens", "shape": self.shape, "levels": self.levels}

    def to_network(self, x: "Tensor", dtype: "torch.dtype | None" = None) -> "Tensor":
        """Tokens as they are, int64, for an embedding: they have no order and no scale."""
        return x.long()

    def from_network(self, y: "Tensor") -> "Tensor":
        """Raises `DataError`: reals have no nearest token."""
        raise DataError(
            f"the values have dtype {y.dtype}; expected {self}, which have no scale.",
            hint="draw integers, e.g. from a categorical distribution",
        )


def positive(**numbers: int) -> None:
    """Raise `DataError` for a number that is no integer of at least 1."""
    for name, value in numbers.items():
        if type(value) is not int or value < 1:
            raise DataError(f"{name} = {value!r}; it must be an integer of at least 1.")


def as_tensor(x: Any, name: str) -> "Tensor":
    """Numbers as a tensor; raises `DataError` for anything else."""
    import torch

    try:
        return torch.as_tensor(x)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{name} is no array of numbers ({type(x).__name__}: {error}).") from None


def chunks(x: "Tensor", dims: int) -> "Iterator[Tensor]":
    """Parts of bounded size, at least one: an empty batch is to be refused, not skipped."""
    size = max(1, _CHECKED_VALUES // max(1, dims))
    starts = range(0, len(x), size) if x.ndim and len(x) else ()
    return iter([x[a : a + size] for a in starts] or [x])


def shape_text(shape: tuple[int | str, ...]) -> str:
    """A shape as Python prints it."""
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"


def rescale_levels(x: "Tensor", levels: int, dtype: "torch.dtype") -> "Tensor":
    """Quantization levels x (*S), 0..K-1, as equally spaced reals from -1 to 1.

    >>> import torch
    >>> rescale_levels(torch.tensor([0, 2, 4]), 5, torch.float32).tolist()
    [-1.0, 0.0, 1.0]
    """
    return x.to(dtype) * (2 / (levels - 1)) - 1
