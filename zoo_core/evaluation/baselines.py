"""Baselines that a model must beat to count as trained: independent values, and a Gaussian.

Of the reals of a table there is a mixture of Gaussians besides; the categories beside them are
independent (`by_columns`).

Both are fitted to `train`, for each class, or combination of the classes of several labels, if
the model is class-conditional. The baseline of a
data set is the one, of those that apply, with the best likelihood on `valid`.

Shapes: N events, D values in an event, K levels, C classes (1 without).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from zoo_core.catalog.specs import LikelihoodKind
from zoo_core.contracts import Batch
from zoo_core.data.batches import read, row_chunks
from zoo_core.data.dataset import Dataset, Source
from zoo_core.data.shuffle import choose
from zoo_core.errors import DataError
from zoo_core.evaluation.baseline import NOTHING, Baseline, classes_of, in_blocks, table_rows
from zoo_core.evaluation.by_columns import ByColumns
from zoo_core.evaluation.mixture import GaussianMixture
from zoo_core.rng import Rng
from zoo_core.spaces import Condition, Event, Group

__all__ = [
    "Baseline",
    "Gaussian",
    "Independent",
    "fitted_baselines",
    "strongest_baseline",
    "tells",
]

_PSEUDO_COUNT = 0.1
_RIDGES = (1e-6, 1e-4, 1e-3, 1e-2, 1e-1)
"""Fractions of the mean variance, added to the covariance; the best on `valid` is kept."""

_MAX_VALID = 20_000
"""Events of `valid` that choose between fits; a seed draws them from a larger split."""

_MAX_TABLE = 1 << 26
_MAX_CELLS = 1024
"""Classes, or combinations of them, that baselines tell apart: of more, each has few events."""


@dataclass(frozen=True, eq=False)
class Independent:
    """Independent values: P(x) = prod_i P_i(x_i), from counts with a pseudo-count."""

    event: Event
    table: Tensor  # log P_i(k), (C, D, K)
    name: str = "independent"
    kind: LikelihoodKind = LikelihoodKind("exact", "equal")
    told: Condition = NOTHING

    @classmethod
    def fit(cls, event: Event, split: Source, classes: int | None) -> "Independent":
        assert event.levels is not None
        shape = (classes or 1, event.dims, event.levels)
        if math.prod(shape) > _MAX_TABLE:
            raise DataError(f"a table of {math.prod(shape)} counts is too large: {event}.")
        counts = torch.full(shape, _PSEUDO_COUNT, dtype=torch.float64)
        for indices in row_chunks(event, torch.arange(len(split))):
            x, labels = split.batch(indices)
            y = table_rows(labels, len(x), classes)
            rows = y[:, None] * event.dims + torch.arange(event.dims)  # (B, D)
            flat = rows * event.levels + x.flatten(1)
            counts.view(-1).index_add_(0, flat.flatten(), torch.ones(flat.numel()).double())
        return cls(event, (counts / counts.sum(-1, keepdim=True)).log())

    def log_prob(self, x: Tensor, y: Tensor | None, *, seed: int = 0) -> Tensor:
        rows = table_rows(y, len(x), classes_of(self.table), self.told)
        blocks = [
            self.table[rows[at]].gather(-1, x[at].flatten(1).long().unsqueeze(-1)).sum((1, 2))
            for at in in_blocks(len(x), self.table[0].numel())
        ]
        return torch.cat(blocks)

    def sample(self, rng: Rng, y: Tensor | None) -> Tensor:
        rows = table_rows(y, len(rng), classes_of(self.table), self.told)
        blocks = in_blocks(len(rng), self.table[0].numel())
        draws = [rng[at].categorical(self.table[rows[at]], stream="null") for at in blocks]
        return torch.cat(draws).view(len(rng), *self.event.shape)


@dataclass(frozen=True, eq=False)
class Gaussian:
    """N(m_c, S), with one covariance for all classes.

    Integers are dequantized by uniform noise, which gives a lower bound,

        log P(x) >= E_u log N(x + u; m, S),   u ~ U[0, 1)^D

    and draws are rounded down and clipped to the range.
    """

    event: Event
    mean: Tensor  # (C, D), float64
    root: Tensor  # Cholesky factor of S, (D, D)
    kind: LikelihoodKind
    name: str = "gaussian"
    told: Condition = NOTHING

    @classmethod
    def fit(cls, event: Event, split: Source, valid: Batch, classes: int | None) -> "Gaussian":
        mean = torch.zeros(classes or 1, event.dims, dtype=torch.float64)
        count = torch.zeros(classes or 1, dtype=torch.long)
        for x, y in _real_batches(event, split, classes):
            mean.index_add_(0, y, x)
            count += torch.bincount(y, minlength=len(count))
        mean = mean / count.clamp(min=1)[:, None]
        cov = torch.zeros(event.dims, event.dims, dtype=torch.float64)
        for x, y in _real_batches(event, split, classes):
            centered = x - mean[y]
            cov += centered.T @ centered / len(split)
        scale = float(cov.diagonal().mean().clamp(min=1e-12))
        fits = [cls._of(event, mean, cov, ridge * scale) for ridge in _RIDGES]
        return max(fits, key=lambda g: float(g.log_prob(*valid).mean()))

    @classmethod
    def _of(cls, event: Event, mean: Tensor, cov: Tensor, ridge: float) -> "Gaussian":
        eye = torch.eye(len(cov), dtype=torch.float64)
        root = torch.linalg.cholesky(cov + ridge * eye)
        exact = LikelihoodKind("exact_density", "equal")
        bound = LikelihoodKind("deq_bound", "lower", "uniform, draws=1")
        return cls(event, mean, root, bound if event.discrete else exact)

    def log_prob(self, x: Tensor, y: Tensor | None, *, seed: int = 0) -> Tensor:
        rows = table_rows(y, len(x), classes_of(self.mean), self.told)
        log_det = self.root.diagonal().log().sum()
        parts = []
        for at in in_blocks(len(x), self.event.dims):
            centered = (
                _real(self.event, x[at], torch.arange(at.start, at.stop), seed=seed)
                - self.mean[rows[at]]
            )
            z = torch.linalg.solve_triangular(self.root, centered.T, upper=False)
            quadratic = z.square().sum(0) + self.event.dims * math.log(2 * math.pi)
            parts.append(-0.5 * quadratic - log_det)
        return torch.cat(parts)

    def sample(self, rng: Rng, y: Tensor | None) -> Tensor:
        eps = rng.normal((self.event.dims,), stream="null").double()
        x = (
            self.mean[table_rows(y, len(rng), classes_of(self.mean), self.told)]
            + eps @ self.root.T
        )
        x = x.view(len(rng), *self.event.shape)
        if self.event.levels is not None:
            return x.floor().clamp(0, self.event.levels - 1).long()
        return (
            x.clamp(self.event.low, self.event.high).float() if _bounded(self.event) else x.float()
        )


_Fit = Gaussian | Independent | GaussianMixture | ByColumns


def fitted_baselines(data: Dataset, *, conditional: bool = False) -> list[Baseline]:
    """The baselines that apply to a data set, fitted, the best on `valid` first."""
    told = data.condition if conditional and tells(data.condition) else NOTHING
    train, classes = _ByCell(data.split("train"), told), told.cells
    held = _ByCell(data.splits.get("valid", data.split("train")), told)
    valid = read(data.event, held, choose(0, len(held), _MAX_VALID))
    table = data.columns is not None
    fits = _fits(data.event, train, valid, classes, mixture=table)
    fits.sort(key=lambda b: -float(b.log_prob(*valid).mean()))
    return [replace(fit, told=told) for fit in fits]


def _fits(
    event: Event, train: Source, valid: Batch, classes: int | None, *, mixture: bool
) -> list[_Fit]:
    """All baselines of a space of events; a `mixture` only of reals."""
    if isinstance(event, Group):
        return _fits_of_group(event, train, valid, classes, mixture=mixture)
    fits: list[_Fit] = [Gaussian.fit(event, train, valid, classes)]
    if mixture and not event.discrete:
        fits.append(GaussianMixture.fit(event, train, valid, classes))
    if event.levels is not None:
        fits.append(Independent.fit(event, train, classes))
    return fits


def _fits_of_group(
    group: Group, train: Source, valid: Batch, classes: int | None, *, mixture: bool
) -> list[_Fit]:
    """Each baseline of the reals together, beside independent integers of each other part."""
    parts = group.columns()
    reals = [i for slot, at in parts if not slot.space.discrete for i in at]
    beside: list[tuple[list[int], Baseline]] = []
    for slot, at in (part for part in parts if part[0].space.discrete):
        event = Event((len(at),), levels=slot.space.levels)
        beside.append((at, Independent.fit(event, _Part(train, at, torch.int64), classes)))
    if not reals:
        return [ByColumns(group, tuple(beside), "independent")]
    own, (x, y) = _Part(train, reals, torch.float32), valid
    return [
        ByColumns(group, ((reals, fit), *beside), fit.name)
        for fit in _fits(Event((len(reals),)), own, (x[:, reals], y), classes, mixture=mixture)
    ]


@dataclass(frozen=True, eq=False)
class _Part:
    """A source of some columns of another's events."""

    source: Source
    columns: list[int]
    dtype: torch.dtype

    def __len__(self) -> int:
        return len(self.source)

    def batch(self, rows: Any = slice(None)) -> tuple[Tensor, Tensor | None]:
        x, y = self.source.batch(rows)
        return x[:, self.columns].to(self.dtype), y


def tells(condition: Condition) -> bool:
    """Whether baselines are fitted class by class: there are classes, and not too many."""
    return 0 < (condition.cells or 0) <= _MAX_CELLS


@dataclass(frozen=True, eq=False)
class _ByCell:
    """A source whose labels are the numbers of rows of a table; None where nothing is told."""

    source: Source
    told: Condition

    def __len__(self) -> int:
        return len(self.source)

    def batch(self, rows: Any = slice(None)) -> tuple[Tensor, Tensor | None]:
        x, y = self.source.batch(rows)
        return x, None if y is None or self.told.kind == "none" else self.told.cell(y)


def strongest_baseline(data: Dataset, *, conditional: bool = False) -> Baseline:
    """The baseline with the best likelihood on `valid`; `conditional` ones are told the class."""
    return fitted_baselines(data, conditional=conditional)[0]


def _bounded(event: Event) -> bool:
    return event.low is not None or event.high is not None


def _real(event: Event, x: Tensor, rows: Tensor, *, seed: int) -> Tensor:
    """Events x at `rows` as float64 (B, D); integers are dequantized by uniform noise."""
    flat = x.flatten(1).double()
    if not event.discrete:
        return flat
    return flat + Rng(seed, rows).uniform((event.dims,), stream="null/dequantize").double()


def _real_batches(
    event: Event, split: Source, classes: int | None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Events as float64 (B, D) and the row of each in a table by class, in batches."""
    for rows in row_chunks(event, torch.arange(len(split))):
        x, y = split.batch(rows)
        yield _real(event, x, rows, seed=0), table_rows(y, len(x), classes)
