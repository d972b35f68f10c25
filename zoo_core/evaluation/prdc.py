"""Precision, recall, density and coverage (PRDC), from nearest neighbours of features.

The ball of a point reaches to its k-th nearest neighbour in its own set.

    precision: fraction of generated points in some ball of the reference   (Kynkaanniemi, eq. 2)
    recall:    fraction of reference points in some ball of the generated   (Kynkaanniemi, eq. 3)
    density:   balls of the reference that a generated point lies in, over k        (Naeem, eq. 2)
    coverage:  fraction of the reference's balls that hold a generated point        (Naeem, eq. 3)

Improved Precision and Recall Metric for Assessing Generative Models (Kynkaanniemi et al., 2019),
https://arxiv.org/abs/1904.06991; Reliable Fidelity and Diversity Metrics for Generative Models
(Naeem et al., 2020), https://arxiv.org/abs/2002.09797. All depend on the number of points.

Standard errors are over other draws of the generated points, for a fixed reference: exact for the
means over generated points (precision, density), and by the jackknife for recall and coverage.
Equal points count as one draw, so that copies do not make an error smaller. The error is unknown
if no spread was seen, and for recall if there are copies, which have balls of radius zero.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from zoo_core.config import Range
from zoo_core.evaluation.feature_set import Estimate, FeatureSet, distance_blocks, with_rows
from zoo_core.uncertainty import UNKNOWN

__all__ = ["Coverage", "DensityMetric", "Precision", "Recall"]

_ROUNDING = 1e-9
_Neighbours = Annotated[int, Range(1, 1000)]


@dataclass(frozen=True)
class Precision:
    """Fraction of the generated points that look like the reference."""

    better: ClassVar[str] = "higher"
    error_over: ClassVar[str] = "samples"

    k: _Neighbours = 3

    def __call__(self, generated: FeatureSet, reference: FeatureSet) -> Estimate:
        return _mean(generated, _balls(generated, reference, self.k) > 0)


@dataclass(frozen=True)
class Recall:
    """Fraction of the reference points that the generated points reach."""

    better: ClassVar[str] = "higher"
    error_over: ClassVar[str] = "samples"

    k: _Neighbours = 3

    def __call__(self, generated: FeatureSet, reference: FeatureSet) -> Estimate:
        reach, wider, adjacency = _reach(generated, self.k), *_without_one(generated, self.k)
        covered, left_out = 0.0, torch.zeros(len(generated), dtype=torch.float64)
        for d in distance_blocks(reference, generated):
            inside = d <= reach
            count = inside.sum(1, keepdim=True)
            covered += float((count > 0).sum())
            grown = ((d <= wider).float() @ adjacency) > 0  # a ball that grows without j
            left_out += ((count - inside.long() > 0) | grown).sum(0)
        if generated.distinct < len(generated):
            return Estimate(covered / len(reference), UNKNOWN)
        return _jackknife(covered, left_out, len(reference))


@dataclass(frozen=True)
class DensityMetric:
    """Mean number of the reference's balls around a generated point, over k; 1 for real data."""

    better: ClassVar[str] = "higher"
    error_over: ClassVar[str] = "samples"

    k: _Neighbours = 5

    def __call__(self, generated: FeatureSet, reference: FeatureSet) -> Estimate:
        return _mean(generated, _balls(generated, reference, self.k).double() / self.k)


@dataclass(frozen=True)
class Coverage:
    """Fraction of the reference's balls that hold at least one generated point."""

    better: ClassVar[str] = "higher"
    error_over: ClassVar[str] = "samples"

    k: _Neighbours = 5

    def __call__(self, generated: FeatureSet, reference: FeatureSet) -> Estimate:
        reach = _reach(reference, self.k)[:, None]
        covered, lost = 0.0, torch.zeros(generated.distinct, dtype=torch.float64)
        for d, r in with_rows(reference, generated, reach):
            inside = _any_copy(generated, d <= r)
            count = inside.sum(1)
            covered += float((count > 0).sum())
            lost += inside[count == 1].sum(0)
        return _jackknife(covered, covered - lost, len(reference))


def _balls(points: FeatureSet, centers: FeatureSet, k: int) -> Tensor:
    """Number of balls around `centers` that each point lies in, (N,)."""
    reach = _reach(centers, k)
    return torch.cat([(d <= reach).sum(1) for d in distance_blocks(points, centers)])


def _reach(features: FeatureSet, k: int) -> Tensor:
    """Squared radii, enlarged by the rounding error, so that ties of integers stay ties."""
    scale = features.points.double().sub(features.mean).square().sum(1).mean()
    return features.radii(k) + _ROUNDING * scale


def _mean(generated: FeatureSet, values: Tensor) -> Estimate:
    return _estimate(float(values.double().mean()), generated.variance(values))


def _any_copy(generated: FeatureSet, inside: Tensor) -> Tensor:
    """Whether each distinct point is in a ball, (n, U), from the same for each point, (n, N)."""
    count = torch.zeros(len(inside), generated.distinct, dtype=torch.long)
    return count.index_add_(1, generated.which, inside.long()) > 0


def _estimate(value: float, variance: Tensor) -> Estimate:
    """The estimate, with an unknown error if points show no spread beyond rounding."""
    error = float(variance.sqrt())
    return Estimate(value, error if error > _ROUNDING else UNKNOWN)


def _without_one(features: FeatureSet, k: int) -> tuple[Tensor, Tensor]:
    """Reach of balls without one of their neighbours, (N,), and the adjacency A, float32 (N, N).

    A[i, j] = 1 if j is among the k nearest neighbours of i.
    """
    nearest = [
        d.topk(k + 1, dim=1, largest=False).indices for d in distance_blocks(features, features)
    ]
    adjacency = torch.zeros(len(features), len(features)).scatter_(1, torch.cat(nearest), 1.0)
    adjacency.fill_diagonal_(0)
    return _reach(features, k + 1), adjacency


def _jackknife(covered: float, left_out: Tensor, total: int) -> Estimate:
    """`covered` as a fraction of `total`; the error is from the counts without each point."""
    n, fractions = len(left_out), left_out / total
    variance = (n - 1) / n * (fractions - fractions.mean()).square().sum()
    return _estimate(covered / total, variance)
