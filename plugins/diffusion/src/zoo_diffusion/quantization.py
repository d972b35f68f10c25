"""Quantization levels in [-1, 1], as networks see integers (`Event.to_network`)."""

import torch
from torch import Tensor

from zoo_core.plugin import ConfigError, Event, rescale_levels

__all__ = ["bin_width", "make_event", "quantization_levels", "x0_bound"]


def make_event(shape: tuple[int, ...], levels: int | None) -> Event:
    """Integers of `levels` values, or reals, of at least one axis (the channels)."""
    if not shape:
        raise ConfigError("shape = (); it must be (D,) for vectors or (C, H, W) for images.")
    return Event(shape, levels=levels)


def bin_width(event: Event) -> float:
    """The distance 2 / (K - 1) between neighbouring quantization levels in [-1, 1]."""
    assert event.levels is not None
    return 2 / (event.levels - 1)


def quantization_levels(event: Event, like: Tensor) -> Tensor:
    """All K levels in [-1, 1], (K,), on the device and in the dtype of `like`."""
    assert event.levels is not None
    return rescale_levels(torch.arange(event.levels, device=like.device), event.levels, like.dtype)


def x0_bound(event: Event) -> float | None:
    """The largest |x_0| of integers in the network's range; None for reals."""
    return 1.0 if event.discrete else None
