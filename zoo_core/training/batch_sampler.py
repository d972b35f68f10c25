"""Which examples a step sees: a pure function of (seed, step), so there is no loader's state."""

import hashlib
from functools import lru_cache

from torch import Tensor

from zoo_core.data.shuffle import epoch_order

__all__ = ["batch_rows", "derive"]

_order = lru_cache(maxsize=4)(epoch_order)  # of the epochs that the players are in


def batch_rows(seed: int, step: int, *, n: int, size: int) -> Tensor:
    """The examples of batch number `step`, int64 (size,), all different.

    An epoch has n // size batches; the few examples left over change from epoch to epoch.
    """
    epoch, i = divmod(step, n // size)
    return _order(seed, epoch, n)[i * size : (i + 1) * size]


def derive(seed: int, *names: object) -> int:
    """A seed in [0, 2^63) for one use of a seed, by hashing."""
    text = "/".join(map(str, (seed, *names)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1
