"""The one place where outputs and scratch come from, so that tests can poison them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

_poisoned = False


def alloc(shape: Sequence[int], *, like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Uninitialised memory on `like`'s device; under `poison()` NaN, or the integer minimum."""
    out = like.new_empty(shape, dtype=dtype)
    return _fill(out) if _poisoned else out


def alloc_like(t: Tensor) -> Tensor:
    """As `alloc`, of t's shape and dtype, and of its strides where t is dense."""
    out = torch.empty_like(t)
    return _fill(out) if _poisoned else out


def _fill(out: Tensor) -> Tensor:
    if out.dtype.is_floating_point:
        return out.fill_(float("nan"))
    return out.fill_(True if out.dtype == torch.bool else torch.iinfo(out.dtype).min)


@contextmanager
def poison() -> Iterator[None]:
    """Inside, an output that a kernel forgets to write is NaN instead of whatever was there."""
    global _poisoned
    before, _poisoned = _poisoned, True
    try:
        yield
    finally:
        _poisoned = before
