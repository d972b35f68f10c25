"""The grid in [-1, 1] on which networks see integers (`Event.to_network`)."""

import torch
from torch import Tensor

from zoo_core.plugin import ConfigError, Event, ordinal

__all__ = ["bounds", "event_of", "grid", "spacing"]


def event_of(shape: tuple[int, ...], levels: int | None) -> Event:
    """Integers, or any reals, of at least one axis: the channels."""
    if not shape:
        raise ConfigError("shape = (); it must be (D,) for vectors or (C, H, W) for images.")
    return Event(shape, levels=levels)


def spacing(event: Event) -> float:
    """The distance of neighbouring levels in [-1, 1], 2 / (K - 1)."""
    assert event.levels is not None
    return 2 / (event.levels - 1)


def grid(event: Event, like: Tensor) -> Tensor:
    """All levels in [-1, 1], (K,)."""
    assert event.levels is not None
    return ordinal(torch.arange(event.levels, device=like.device), event.levels, like.dtype)


def bounds(event: Event) -> float | None:
    """The largest |x_0| in the network's range, where it is bounded."""
    return 1.0 if event.discrete else None
