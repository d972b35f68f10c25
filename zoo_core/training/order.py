"""Which examples a step sees: a pure function of (seed, step), so there is no loader's state."""

import hashlib
from functools import lru_cache

import torch
from torch import Tensor

import zoo_kernels.rng as philox

__all__ = ["batch_rows", "derive", "epoch_order"]

_STREAM = 0x0D3  # of the order's own seeds; nothing else is drawn from them


@lru_cache(maxsize=4)
def epoch_order(seed: int, epoch: int, n: int) -> Tensor:
    """The permutation of 0..n-1 in which an epoch visits the examples, int64 (n,)."""
    word = philox.bits(seed, torch.arange(n), 2, stream=_STREAM, step=epoch)
    return (word[:, 0] << 31 | word[:, 1] >> 1).argsort(stable=True)  # 63-bit keys


def batch_rows(seed: int, step: int, *, n: int, size: int) -> Tensor:
    """The examples of batch number `step`, int64 (size,), all different.

    An epoch has n // size batches; the few examples left over change from epoch to epoch.
    """
    epoch, i = divmod(step, n // size)
    return epoch_order(seed, epoch, n)[i * size : (i + 1) * size]


def derive(seed: int, *names: object) -> int:
    """A seed in [0, 2^63) for one use of a seed, by hashing."""
    text = "/".join(map(str, (seed, *names)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1
