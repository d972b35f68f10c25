"""torch's own generators: same amount of numbers, not reproducible by row."""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor


def normal(seed: int, rows: Tensor, numel: int, *counter: int) -> Tensor:
    return torch.randn(len(rows), numel, device=rows.device)


def uniform(seed: int, rows: Tensor, numel: int, *counter: int) -> Tensor:
    return torch.rand(len(rows), numel, device=rows.device)


def bits(seed: int, rows: Tensor, numel: int, *counter: int) -> Tensor:
    return torch.randint(2**32, (len(rows), numel), device=rows.device)


@cache
def _compile(f: Callable[..., Tensor]) -> Any:
    return torch.compile(f, dynamic=False)


def normal_compiled(*args: Any) -> Tensor:
    drawn: Tensor = _compile(normal)(*args)
    return drawn


def uniform_compiled(*args: Any) -> Tensor:
    drawn: Tensor = _compile(uniform)(*args)
    return drawn


def bits_compiled(*args: Any) -> Tensor:
    drawn: Tensor = _compile(bits)(*args)
    return drawn
