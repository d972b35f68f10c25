"""What a model is a distribution over, and what it may be conditioned on.

An event is one x: integers 0..K-1 or reals in a range, of a fixed shape. Batches put B first.
Images are (C, H, W). Checks run at the public boundary and say no to everything else.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from zoo_core.errors import DataError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = ["Condition", "Event", "rescale_levels"]


@dataclass(frozen=True)
class Event:
    """Shape and values of one x.

    With `levels` K the values are integers 0..K-1; without, reals in [low, high].
    """

    shape: tuple[int, ...]
    levels: int | None = None
    low: float | None = None
    high: float | None = None

    @property
    def discrete(self) -> bool:
        return self.levels is not None

    @property
    def dims(self) -> int:
        """Number D of scalar values in one event."""
        return math.prod(self.shape)

    def __str__(self) -> str:
        shape = "x".join(map(str, self.shape)) or "scalar"
        if self.discrete:
            return f"integers 0..{(self.levels or 1) - 1} of shape {shape}"
        low = "-inf" if self.low is None else f"{self.low:g}"
        high = "inf" if self.high is None else f"{self.high:g}"
        return f"reals in [{low}, {high}] of shape {shape}"

    def to_network(self, x: "Tensor", dtype: "torch.dtype | None" = None) -> "Tensor":
        """Events (B, *S) as networks see them: 2 x / (K - 1) - 1 of integers, reals as they are.

        In `dtype`, by default torch's own.
        """
        import torch

        dtype = dtype or torch.get_default_dtype()
        return x.to(dtype) if self.levels is None else rescale_levels(x, self.levels, dtype)

    def from_network(self, y: "Tensor") -> "Tensor":
        """The nearest events of reals y (B, *S) on the network's scale.

            x = round((y + 1) (K - 1) / 2), held in 0..K-1

        of integers; of reals, which have no other scale, y held in [low, high].
        """
        if self.levels is not None:
            top = self.levels - 1
            return ((y.float() + 1) / (2 / top)).round().clamp(0, top).long()
        return y if self.low is None and self.high is None else y.clamp(self.low, self.high)

    def check(self, x: Any, *, device: "torch.device | str" = "cpu", name: str = "x") -> "Tensor":
        """`x` as a tensor (B, *shape) of this event: int64 if discrete, else floating point.

        Raises `DataError` for any other shape, dtype or value, and for an empty batch.
        """
        x = _tensor(x, name)
        if tuple(x.shape[1:]) != self.shape or x.ndim != len(self.shape) + 1:
            want: tuple[int | str, ...] = ("B", *self.shape)
            raise DataError(f"{name} has shape {tuple(x.shape)}; expected {_shape(want)}: {self}.")
        if len(x) == 0:
            raise DataError(f"{name} is an empty batch; give at least one event: {self}.")
        return (self._integers(x, name) if self.discrete else self._reals(x, name)).to(device)

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


@dataclass(frozen=True)
class Condition:
    """What a model is conditioned on: nothing, one of K classes, a vector or an image.

    An `optional` condition may be left out (classifier-free guidance, completion).
    """

    kind: Literal["none", "classes", "vector", "image"] = "none"
    classes: int | None = None
    shape: tuple[int, ...] = ()
    optional: bool = False

    def __str__(self) -> str:
        if self.kind == "none":
            return "no condition"
        article = "an" if self.kind == "image" else "a"
        text = f"{article} {self.kind} of shape {_shape(self.shape)}"
        if self.kind == "classes":
            text = f"a class 0..{(self.classes or 1) - 1}"
        return f"{text} (optional)" if self.optional else text

    def check(
        self, cond: Any, batch: int, *, device: "torch.device | str" = "cpu"
    ) -> "Tensor | None":
        """`cond` for `batch` events; one condition is repeated for all. Raises `DataError`."""
        if cond is None:
            if self.kind == "none" or self.optional:
                return None
            raise DataError(
                f"cond is missing; this model needs {self}.",
                hint="pass cond=...",
                command="--cond C, or data with labels",
            )
        if self.kind == "none":
            raise DataError(
                "cond was given; this model takes no condition.",
                hint="drop cond",
                command="drop --cond",
            )
        cond = _tensor(cond, "cond")
        if tuple(cond.shape) not in (self.shape, (batch, *self.shape)):
            want = _shape((batch, *self.shape))
            raise DataError(f"cond has shape {tuple(cond.shape)}; expected {want}: {self}.")
        values = Event(self.shape, levels=self.classes)
        if tuple(cond.shape) == self.shape:  # checked once, however many it serves
            one = values.check(cond.unsqueeze(0), device=device, name="cond")
            return one.expand(batch, *self.shape)
        return values.check(cond, device=device, name="cond")


def _tensor(x: Any, name: str) -> "Tensor":
    import torch

    try:
        return torch.as_tensor(x)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{name} is no array of numbers ({type(x).__name__}: {error}).") from None


def _shape(shape: tuple[int | str, ...]) -> str:
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"


def rescale_levels(x: "Tensor", levels: int, dtype: "torch.dtype") -> "Tensor":
    """Integers 0..K-1 as equally spaced reals from -1 to 1."""
    return x.to(dtype) * (2 / (levels - 1)) - 1
