"""Permutations that a seed determines, the same on every machine, and splits from them.

Each example gets a key of 48 Philox bits from (seed, example, stream, step), and sorting the keys
gives the order. Keys are integers and the sort is stable, so that no machine differs.
"""

import torch
from torch import Tensor

from zoo_core.errors import DataError, UsageError
from zoo_core.rng import Rng

__all__ = ["choose", "cut", "epoch_order", "permutation"]


def epoch_order(seed: int, epoch: int, n: int) -> Tensor:
    """The indices 0..n-1 in the order of an epoch, int64 (n,)."""
    return permutation(seed, n, stream="data/order", step=epoch)


def permutation(seed: int, n: int, *, stream: str, step: int = 0) -> Tensor:
    """A permutation of 0..n-1, int64 (n,); raises `UsageError` for n < 1.

    The relative order of examples does not depend on n.
    """
    if n < 1:
        raise UsageError(f"n = {n}; there must be at least one example to order.")
    u = Rng(seed, n).uniform((2,), stream=stream, step=step)
    high, low = (u.double() * 2**24).long().unbind(-1)  # u is a multiple of 2^-24: exact
    return (high << 24 | low).argsort(stable=True)


def choose(seed: int, n: int, limit: int | None, *, stream: str = "evaluation/limit") -> Tensor:
    """A random subset of `limit` indices of 0..n-1, ascending; all of them if `limit` is None."""
    if limit is None or limit >= n:
        return torch.arange(n)
    return permutation(seed, n, stream=stream)[:limit].sort().values


def cut(n: int, *, valid: float, test: float, seed: int) -> list[tuple[str, Tensor]]:
    """Indices of disjoint splits: fractions `valid` and `test` of n examples, and train."""
    order = permutation(seed, n, stream="data/split")
    a, b = round(valid * n), round(test * n)
    if a + b >= n or (valid and not a) or (test and not b):
        raise DataError(
            f"{n} events cannot be split into train, valid = {valid:g} and test = {test:g}.",
            hint="give fractions that leave at least one event in each",
        )
    splits = {"train": order[a + b :], "valid": order[:a], "test": order[a : a + b]}
    return [(name, rows) for name, rows in splits.items() if len(rows)]
