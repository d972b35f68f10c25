"""Permutations keyed by a seed, the same on every machine, and splits cut from them.

Each example gets 48 Philox bits from (seed, example, stream, step); sorting them gives the order.
Keys are integers and ties go to the lower index, so nothing depends on the machine.
"""

import torch
from torch import Tensor

from zoo_core.errors import DataError, UsageError
from zoo_core.rng import Rng

__all__ = ["choose", "cut", "epoch_order", "permutation"]


def epoch_order(seed: int, epoch: int, n: int) -> Tensor:
    """The examples 0..n-1 in the order of an epoch, int64 (n,)."""
    return permutation(seed, n, stream="data/order", step=epoch)


def permutation(seed: int, n: int, *, stream: str, step: int = 0) -> Tensor:
    """A permutation of 0..n-1, int64 (n,).

    Leaving the last examples away leaves the relative order of the others as it was.
    """
    if n < 1:
        raise UsageError(f"n = {n}; there must be at least one example to order.")
    u = Rng(seed, n).uniform((2,), stream=stream, step=step)
    high, low = (u.double() * 2**24).long().unbind(-1)  # u is a multiple of 2^-24: exact
    return (high << 24 | low).argsort(stable=True)


def choose(seed: int, n: int, most: int | None, *, stream: str = "evaluation/limit") -> Tensor:
    """All of 0..n-1, or `most` of them that the seed fixes, ascending; never a prefix."""
    if most is None or most >= n:
        return torch.arange(n)
    return permutation(seed, n, stream=stream)[:most].sort().values


def cut(n: int, *, valid: float, test: float, seed: int) -> list[tuple[str, Tensor]]:
    """Rows of disjoint splits that hold `valid` and `test` of n examples, and train the rest."""
    order = permutation(seed, n, stream="data/split")
    a, b = round(valid * n), round(test * n)
    if a + b >= n or (valid and not a) or (test and not b):
        raise DataError(
            f"{n} events cannot be split into train, valid = {valid:g} and test = {test:g}.",
            hint="give fractions that leave at least one event in each",
        )
    parts = {"train": order[a + b :], "valid": order[:a], "test": order[a : a + b]}
    return [(name, rows) for name, rows in parts.items() if len(rows)]
