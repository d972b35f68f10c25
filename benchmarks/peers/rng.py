"""torch's own generators: same amount of numbers, not reproducible by row."""

import torch
from torch import Tensor


def normal(seed: int, rows: Tensor, numel: int, *place: int) -> Tensor:
    return torch.randn(len(rows), numel)


def uniform(seed: int, rows: Tensor, numel: int, *place: int) -> Tensor:
    return torch.rand(len(rows), numel)


def bits(seed: int, rows: Tensor, numel: int, *place: int) -> Tensor:
    return torch.randint(2**32, (len(rows), numel))
