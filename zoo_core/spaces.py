"""Spaces of models: events, over which they are distributions, and conditions.

An event is one x of a fixed shape: integers 0..K-1, or reals in a range. The batch B comes first;
images are (C, H, W). Public functions check what they get against them.
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

    def check(self, x: Any, *, device: "torch.device | str" = "cpu", name: str = "x") -> "Tensor":
        """`x` as a tensor (B, *shape) of such events: int64 if discrete, else floating point.

        Raises `DataError` if it has another shape, dtype or value, or is empty. `name` is what
        messages call it.
        """
        x = _tensor(x, name)
        if tuple(x.shape[1:]) != self.shape or x.ndim != len(self.shape) + 1:
            expected = _shape(("B", *self.shape))
            raise DataError(f"{name} has shape {tuple(x.shape)}; expected {expected}: {self}.")
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

    An `optional` condition may be left out, as classifier-free guidance does.

    >>> print(Condition("classes", classes=10))
    a class 0..9
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
        """`cond` as a tensor of `batch` conditions, for which a single one is repeated.

        Raises `DataError` if it does not fit, or is missing and not optional.
        """
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
            expected = _shape((batch, *self.shape))
            raise DataError(f"cond has shape {tuple(cond.shape)}; expected {expected}: {self}.")
        values = Event(self.shape, levels=self.classes)
        if tuple(cond.shape) == self.shape:  # one check is enough for all
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
    """Quantization levels 0..K-1 as equally spaced reals from -1 to 1.

    >>> import torch
    >>> rescale_levels(torch.tensor([0, 2, 4]), 5, torch.float32).tolist()
    [-1.0, 0.0, 1.0]
    """
    return x.to(dtype) * (2 / (levels - 1)) - 1
