"""Random numbers for a batch, in which row i of a seed is the same whatever else is drawn.

Philox 4x32-10 (Salmon et al., 2011), a counter-based generator: the seed is the key, and (block,
step, stream, row) the counter. Sampling and scoring use no other source of randomness.
"""

import hashlib
from collections.abc import Sequence
from functools import cache
from math import prod

import torch
from torch import Tensor

import zoo_kernels.rng as philox
from zoo_core.errors import UsageError

__all__ = ["Rng"]

_SEEDS = 1 << 64
_ROWS = 1 << 32


class Rng:
    """Random draws for the rows of a batch.

    `stream` names a draw and `step` counts its repetitions. The same (seed, row, stream, step)
    gives the same bits in any batch, on every backend.

    >>> whole, last = Rng(0, 4).normal(stream="z"), Rng(0, [3]).normal(stream="z")
    >>> bool(whole[3] == last[0])
    True
    """

    def __init__(self, seed: int, rows: Tensor | Sequence[int] | int, *, scope: str = "") -> None:
        """`rows` are row indices (B,) in [0, 2^32), or their number n for rows 0..n-1.

        `scope` is put before the name of every stream. Raises `UsageError` for a seed outside
        [0, 2^64).
        """
        if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < _SEEDS:
            raise UsageError(f"seed = {seed!r}; it must be an integer in [0, 2^64).")
        rows = torch.arange(rows) if isinstance(rows, int) else torch.as_tensor(rows)
        if rows.ndim != 1 or (len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < _ROWS):
            raise UsageError("rows must be a vector of integers in [0, 2^32).")
        self.seed = seed
        self.rows = rows.long()
        self._scope = scope
        self._whole: Tensor | None = None
        self._positions: Tensor | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def device(self) -> torch.device:
        """The device of the draws."""
        return self.rows.device

    def __getitem__(self, rows: slice) -> "Rng":
        """Some rows of the batch, whose draws stay the same."""
        return self._copy(self.rows[rows], self._scope)

    def part(self, positions: Tensor) -> "Rng":
        """The rows of one process of several, by their places in this batch, which is `whole`."""
        part = self._copy(self.rows[positions.to(self.device)], self._scope)
        part._whole, part._positions = self.rows, positions.to(self.device)
        return part

    @property
    def whole(self) -> "Rng":
        """The whole batch that these rows are part of in a training on several processes.

        Elsewhere it is this one. What a loss draws for a batch as a whole, it draws from here, and
        takes the `positions` of its own rows.
        """
        return self if self._whole is None else self._copy(self._whole, self._scope)

    @property
    def positions(self) -> Tensor:
        """The places of these rows in the whole batch, int64 (B,)."""
        if self._positions is None:
            return torch.arange(len(self), device=self.device)
        return self._positions

    def scope(self, name: str) -> "Rng":
        """The same rows with `name/` before the name of every stream, which gives new draws."""
        return self._like(self.rows, f"{self._scope}{name}/")

    def to(self, device: torch.device | str) -> "Rng":
        """The same rows, drawing on another device."""
        moved = self._like(self.rows.to(device), self._scope)
        if self._whole is not None and self._positions is not None:
            moved._whole, moved._positions = self._whole.to(device), self._positions.to(device)
        return moved

    def normal(self, shape: Sequence[int] = (), *, stream: str, step: int = 0) -> Tensor:
        """Standard normals (B, *shape), float32."""
        draws = philox.normal(
            self.seed, self.rows, prod(shape), stream=self.stream(stream), step=step
        )
        return draws.view(len(self), *shape)

    def uniform(self, shape: Sequence[int] = (), *, stream: str, step: int = 0) -> Tensor:
        """Uniforms in [0, 1), multiples of 2^-24, (B, *shape), float32."""
        draws = philox.uniform(
            self.seed, self.rows, prod(shape), stream=self.stream(stream), step=step
        )
        return draws.view(len(self), *shape)

    def categorical(self, logits: Tensor, *, stream: str, step: int = 0) -> Tensor:
        """Draws (B, *S) from unnormalized log-probabilities (B, *S, K), by inverse CDF."""
        u = self.uniform(logits.shape[1:-1], stream=stream, step=step)
        cdf = logits.double().softmax(-1).cumsum(-1)
        return (u.double().unsqueeze(-1) >= cdf / cdf[..., -1:]).sum(-1)

    def bernoulli(self, logits: Tensor, *, stream: str, step: int = 0) -> Tensor:
        """Draws (B, *S) of 0 or 1 (int64) with P(1) = sigmoid(logits)."""
        u = self.uniform(logits.shape[1:], stream=stream, step=step)
        return (u.double() < logits.double().sigmoid()).long()

    def _copy(self, rows: Tensor, scope: str) -> "Rng":
        copy = object.__new__(Rng)  # seed and rows were checked once
        copy.seed, copy.rows, copy._scope = self.seed, rows, scope
        copy._whole = copy._positions = None
        return copy

    def _like(self, rows: Tensor, scope: str) -> "Rng":
        """A copy that is the same part of a batch."""
        copy = self._copy(rows, scope)
        copy._whole, copy._positions = self._whole, self._positions
        return copy

    def stream(self, name: str) -> int:
        """The number of a stream, for kernels that draw from (seed, rows, stream, step)."""
        return _hash(f"{self._scope}{name}")


@cache
def _hash(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=4).digest(), "little")
