"""Transforms of training data: random ones keyed by (seed, step, row), and fixed ones.

    data = zoo.load_dataset("digits").transformed(Flip(), Shift(1))
    data = zoo.load_dataset("folder:pictures", transforms=["flip", {"crop": 32}])

A resumed training sees the same events as one that never stopped, in any order and on any number
of processes. Shapes: B events, images (B, C, H, W).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Annotated, Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo_core import config as configs
from zoo_core.config import Range
from zoo_core.errors import ConfigError, DataError, did_you_mean
from zoo_core.rng import Rng
from zoo_core.spaces import Event

if TYPE_CHECKING:
    from zoo_core.data.dataset import Source

__all__ = [
    "Crop",
    "Flip",
    "Resize",
    "Shift",
    "Transform",
    "Transformed",
    "parse_transforms",
    "transformed_event",
]

_Size = Annotated[int, Range(1, 4096)]


@runtime_checkable
class Transform(Protocol):
    """A map of events; a frozen dataclass of options, whose values name it in a checkpoint."""

    def event(self, event: Event) -> Event:
        """The event that it makes of one; raises `DataError` if it cannot."""
        ...

    def __call__(self, x: Tensor, event: Event, rng: Rng | None, step: int) -> Tensor:
        """Events of x (B, *S); the random part is left out if `rng` is None."""
        ...


@dataclass(frozen=True)
class Flip:
    """Mirrors images left to right, each with probability p, in training."""

    p: Annotated[float, Range(0, 1)] = 0.5

    def event(self, event: Event) -> Event:
        """The same image event; raises `DataError` for other events."""
        return _image(self, event)

    def __call__(self, x: Tensor, event: Event, rng: Rng | None, step: int) -> Tensor:
        if rng is None:
            return x
        flip = rng.uniform(stream="flip", step=step) < self.p
        return torch.where(flip.view(-1, 1, 1, 1), x.flip(-1), x)


@dataclass(frozen=True)
class Shift:
    """Moves images by up to `pixels` in each direction, in training; their edges are repeated."""

    pixels: _Size

    def event(self, event: Event) -> Event:
        """The same image event; raises `DataError` for other events."""
        return _image(self, event)

    def __call__(self, x: Tensor, event: Event, rng: Rng | None, step: int) -> Tensor:
        if rng is None:
            return x
        u = rng.uniform((2,), stream="shift", step=step)
        offsets = (u * (2 * self.pixels + 1)).long() - self.pixels
        return _windows(x, offsets, x.shape[-2], x.shape[-1])


@dataclass(frozen=True)
class Crop:
    """Squares of `size`: at a random place in training, else from the centre."""

    size: _Size

    def event(self, event: Event) -> Event:
        """The event of the cropped image; raises `DataError` if it is smaller."""
        c, h, w = _image(self, event).shape
        if self.size > min(h, w):
            raise DataError(
                f"a crop of {self.size} pixels does not fit into {event}.",
                hint=f"give at most {min(h, w)}",
            )
        return replace(event, shape=(c, self.size, self.size))

    def __call__(self, x: Tensor, event: Event, rng: Rng | None, step: int) -> Tensor:
        free = torch.tensor(x.shape[-2:]) - self.size
        if rng is None:
            offsets = (free // 2).expand(len(x), 2)
        else:
            offsets = (rng.uniform((2,), stream="crop", step=step) * (free + 1)).long()
        return _windows(x, offsets, self.size, self.size)


@dataclass(frozen=True)
class Resize:
    """Squares of `size`: the shorter side is resized to it (antialiased), the centre kept."""

    size: _Size

    def event(self, event: Event) -> Event:
        """The event of the resized image; raises `DataError` for other events."""
        return replace(event, shape=(_image(self, event).shape[0], self.size, self.size))

    def __call__(self, x: Tensor, event: Event, rng: Rng | None, step: int) -> Tensor:
        scale = self.size / min(x.shape[-2:])
        size = [max(self.size, round(n * scale)) for n in x.shape[-2:]]
        y = F.interpolate(x.float(), size=size, mode="bilinear", antialias=True)
        y = Crop(self.size)(y, event, None, step)
        if event.levels is not None:
            return y.round().clamp(0, event.levels - 1).to(x.dtype)
        return y.clamp(event.low, event.high) if (event.low, event.high) != (None, None) else y


_BY_NAME: dict[str, type] = {"crop": Crop, "flip": Flip, "resize": Resize, "shift": Shift}


def parse_transforms(entries: Any, *, where: str = "transforms") -> tuple[Transform, ...]:
    """Transforms from a recipe's list, or objects as they are.

    An entry is a name, `"flip"`; a name with its first option, `{shift = 2}`; or a name with a
    table of options, `{flip = {p = 0.25}}`. Raises `ConfigError` for others.
    """
    if not isinstance(entries, list | tuple):
        raise ConfigError(f"{where} = {entries!r}; it must be a list, e.g. ['flip'].")
    return tuple(_parse(entry, f"{where}.{i}") for i, entry in enumerate(entries))


def _parse(entry: Any, where: str) -> Transform:
    if isinstance(entry, Transform) and not isinstance(entry, type):
        return entry
    table = {entry: {}} if isinstance(entry, str) else entry
    if not isinstance(table, Mapping) or len(table) != 1:
        raise ConfigError(
            f"{where} = {entry!r}; give a name or one name with its options.",
            hint="e.g. 'flip' or {shift = 2}",
        )
    ((name, options),) = table.items()
    if name not in _BY_NAME:
        raise ConfigError(
            f"{where}: unknown transform {name!r}; transforms: {', '.join(_BY_NAME)}.",
            hint=did_you_mean(str(name), _BY_NAME) or "pass an object in Python",
        )
    cls = _BY_NAME[name]
    if not isinstance(options, Mapping):
        options = {fields(cls)[0].name: options}
    made: Transform = configs.from_dict(cls, options, where=f"{where}.{name}.")
    return made


def transformed_event(event: Event, transforms: Sequence[Transform]) -> Event:
    """The event after all transforms."""
    for transform in transforms:
        event = transform.event(event)
    return event


@dataclass(frozen=True, eq=False)
class Transformed:
    """A source whose batches are transformed as they are read; `event` is that before."""

    source: "Source"
    event: Event
    transforms: tuple[Transform, ...]

    def __len__(self) -> int:
        return len(self.source)

    def batch(self, rows: Any = slice(None)) -> tuple[Tensor, Tensor | None]:
        """Events and labels with the fixed parts of the transforms."""
        return self._apply(rows, None, 0)

    def augmented(self, rows: Any, rng: Rng, step: int) -> tuple[Tensor, Tensor | None]:
        """Events and labels as training sees them in `step`; `rng` has the rows of the events."""
        return self._apply(rows, rng.scope("transform"), step)

    def _apply(self, rows: Any, rng: Rng | None, step: int) -> tuple[Tensor, Tensor | None]:
        x, y = self.source.batch(rows)
        event = self.event
        for i, transform in enumerate(self.transforms):
            x = transform(x, event, None if rng is None else rng.scope(str(i)), step)
            event = transform.event(event)
        return x, y


def _image(transform: Transform, event: Event) -> Event:
    if len(event.shape) != 3:
        raise DataError(
            f"{type(transform).__name__.lower()} is for images (C, H, W); the data has {event}."
        )
    return event


def _windows(x: Tensor, offsets: Tensor, height: int, width: int) -> Tensor:
    """A window of each image at its offset (B, 2); outside, the edge is repeated."""
    rows = (offsets[:, :1] + torch.arange(height)).clamp(0, x.shape[-2] - 1)  # (B, height)
    columns = (offsets[:, 1:] + torch.arange(width)).clamp(0, x.shape[-1] - 1)
    b, c = torch.arange(len(x)), torch.arange(x.shape[1])
    at = b[:, None, None, None], c[:, None, None], rows[:, None, :, None], columns[:, None, None]
    return x[at]
