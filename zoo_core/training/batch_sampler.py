"""Sample indices of each step: a pure function of (seed, step), so no loader state is saved."""

import hashlib
from functools import lru_cache

from torch import Tensor

from zoo_core.data.shuffle import epoch_order

__all__ = ["batch_indices", "derive_seed"]

_order = lru_cache(maxsize=4)(epoch_order)  # players may be in different epochs


def batch_indices(seed: int, step: int, *, n: int, size: int) -> Tensor:
    """Sample indices of batch number `step`, int64 (size,), all different.

    An epoch has n // size batches; which samples are left over changes from epoch to epoch.
    """
    epoch, i = divmod(step, n // size)
    return _order(seed, epoch, n)[i * size : (i + 1) * size]


def derive_seed(seed: int, *names: object) -> int:
    """A seed in [0, 2^63) for the use that `names` describe, by hashing."""
    text = "/".join(map(str, (seed, *names)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1
