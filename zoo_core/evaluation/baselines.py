"""Null baselines: what a model must beat to have learned anything.

Both are fitted to `train`, class by class for a model that is told the class. Of those that fit
the data, the one that scores best on `valid` is the null baseline of the data set.

Shapes: N events, D values in an event, K levels, C classes (1 without).
"""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from zoo_core.catalog.specs import LikelihoodKind
from zoo_core.data.dataset import Dataset, Split
from zoo_core.errors import DataError
from zoo_core.rng import Rng
from zoo_core.spaces import Event

__all__ = ["Baseline", "Gaussian", "Independent", "candidates", "null_baseline"]

_PSEUDO_COUNT = 0.1
_RIDGES = (1e-6, 1e-4, 1e-3, 1e-2, 1e-1)
"""Added to the covariance, in parts of the mean variance; the best on `valid` is kept."""

_MAX_TABLE = 1 << 26
_BLOCK_VALUES = 1 << 22


class Baseline(Protocol):
    """A fitted distribution with a name and a kind of likelihood."""

    @property
    def name(self) -> str: ...

    @property
    def kind(self) -> LikelihoodKind: ...

    def log_prob(self, x: Tensor, y: Tensor | None, *, seed: int = 0) -> Tensor:
        """Nats (N,), float64."""
        ...

    def sample(self, rng: Rng, y: Tensor | None) -> Tensor:
        """One event a row, as the data set keeps them: (N, *S)."""
        ...


@dataclass(frozen=True, eq=False)
class Independent:
    """Every value drawn by itself: P(x) = prod_i P_i(x_i), from counts with a pseudo-count."""

    event: Event
    table: Tensor  # log P_i(k), (C, D, K)
    name: str = "independent"
    kind: LikelihoodKind = LikelihoodKind("exact", "equal")

    @classmethod
    def fit(cls, event: Event, split: Split, classes: int | None) -> "Independent":
        assert event.levels is not None
        shape = (classes or 1, event.dims, event.levels)
        if math.prod(shape) > _MAX_TABLE:
            raise DataError(f"a table of {math.prod(shape)} counts is too large: {event}.")
        counts = torch.full(shape, _PSEUDO_COUNT, dtype=torch.float64)
        y = _classes(split.y, len(split), classes)
        rows = y[:, None] * event.dims + torch.arange(event.dims)  # (N, D)
        flat = rows * event.levels + split.x.flatten(1).long()
        counts.view(-1).index_add_(0, flat.flatten(), torch.ones(flat.numel()).double())
        return cls(event, (counts / counts.sum(-1, keepdim=True)).log())

    def log_prob(self, x: Tensor, y: Tensor | None, *, seed: int = 0) -> Tensor:
        rows = _classes(y, len(x), _given(self.table))
        values = x.flatten(1).long().unsqueeze(-1)
        size = max(1, _BLOCK_VALUES // self.table[0].numel())
        parts = zip(torch.split(values, size), torch.split(rows, size), strict=True)
        return torch.cat([self.table[r].gather(-1, v).sum((1, 2)) for v, r in parts])

    def sample(self, rng: Rng, y: Tensor | None) -> Tensor:
        rows = _classes(y, len(rng), _given(self.table))
        size = max(1, _BLOCK_VALUES // self.table[0].numel())
        parts = [slice(a, a + size) for a in range(0, len(rng), size)]
        draws = [rng[s].categorical(self.table[rows[s]], stream="null") for s in parts]
        return torch.cat(draws).view(len(rng), *self.event.shape)


@dataclass(frozen=True, eq=False)
class Gaussian:
    """N(m_c, S), one covariance for all classes. Integers are dequantized by uniform noise.

        log P(x) >= E_u log N(x + u; m, S),   u ~ U[0, 1)^D

    and drawn by rounding down and into the range.
    """

    event: Event
    mean: Tensor  # (C, D), float64
    root: Tensor  # Cholesky factor of S, (D, D)
    kind: LikelihoodKind
    name: str = "gaussian"

    @classmethod
    def fit(cls, event: Event, split: Split, valid: Split, classes: int | None) -> "Gaussian":
        x = _real(event, split.x, seed=0)
        y = _classes(split.y, len(x), classes)
        count = torch.bincount(y, minlength=classes or 1).clamp(min=1)
        mean = torch.zeros(classes or 1, x.shape[1], dtype=torch.float64).index_add_(0, y, x)
        mean = mean / count[:, None]
        off = x - mean[y]
        cov = off.T @ off / len(x)
        scale = float(cov.diagonal().mean().clamp(min=1e-12))
        fits = [cls._of(event, mean, cov, ridge * scale) for ridge in _RIDGES]
        y_valid = valid.y if classes else None
        return max(fits, key=lambda g: float(g.log_prob(valid.x, y_valid).mean()))

    @classmethod
    def _of(cls, event: Event, mean: Tensor, cov: Tensor, ridge: float) -> "Gaussian":
        eye = torch.eye(len(cov), dtype=torch.float64)
        root = torch.linalg.cholesky(cov + ridge * eye)
        exact = LikelihoodKind("exact_density", "equal")
        bound = LikelihoodKind("deq_bound", "lower", "uniform, draws=1")
        return cls(event, mean, root, bound if event.discrete else exact)

    def log_prob(self, x: Tensor, y: Tensor | None, *, seed: int = 0) -> Tensor:
        x = _real(self.event, x, seed=seed)
        off = x - self.mean[_classes(y, len(x), _given(self.mean))]
        z = torch.linalg.solve_triangular(self.root, off.T, upper=False)
        log_det = self.root.diagonal().log().sum()
        quadratic: Tensor = z.square().sum(0) + x.shape[1] * math.log(2 * math.pi)
        return -0.5 * quadratic - log_det

    def sample(self, rng: Rng, y: Tensor | None) -> Tensor:
        eps = rng.normal((self.event.dims,), stream="null").double()
        x = self.mean[_classes(y, len(rng), _given(self.mean))] + eps @ self.root.T
        x = x.view(len(rng), *self.event.shape)
        if self.event.levels is not None:
            return x.floor().clamp(0, self.event.levels - 1).long()
        return (
            x.clamp(self.event.low, self.event.high).float() if _bounded(self.event) else x.float()
        )


def candidates(data: Dataset, *, conditional: bool = False) -> list[Baseline]:
    """The baselines that fit a data set, the best on `valid` first."""
    train = data.split("train")
    valid = data.splits.get("valid", train)
    classes = data.condition.classes if conditional else None
    found: list[Baseline] = [Gaussian.fit(data.event, train, valid, classes)]
    if data.event.levels is not None:
        found.append(Independent.fit(data.event, train, classes))
    y = valid.y if classes else None
    return sorted(found, key=lambda b: -float(b.log_prob(valid.x, y).mean()))


def null_baseline(data: Dataset, *, conditional: bool = False) -> Baseline:
    """The strongest of the candidates; `conditional` ones are told the class."""
    return candidates(data, conditional=conditional)[0]


def _classes(y: Tensor | None, n: int, classes: int | None) -> Tensor:
    """Rows of a table by class; all the first row without classes."""
    return torch.zeros(n, dtype=torch.long) if y is None or not classes else y


def _given(table: Tensor) -> int | None:
    return len(table) if len(table) > 1 else None


def _bounded(event: Event) -> bool:
    return event.low is not None or event.high is not None


def _real(event: Event, x: Tensor, *, seed: int) -> Tensor:
    """(N, D) float64; integers get uniform noise."""
    flat = x.flatten(1).double()
    if not event.discrete:
        return flat
    return flat + Rng(seed, len(x)).uniform((event.dims,), stream="null/dequantize").double()
