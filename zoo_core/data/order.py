"""The order in which examples are seen: permutations keyed by a seed, the same on every machine.

Each example gets 48 Philox bits from (seed, example, epoch); sorting them gives the order. Keys
are integers and ties go to the lower index, so nothing depends on the machine.
"""

from torch import Tensor

from zoo_core.errors import UsageError
from zoo_core.rng import Rng

__all__ = ["epoch_order", "permutation"]


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
