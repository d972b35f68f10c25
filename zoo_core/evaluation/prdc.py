"""Scores by nearest neighbours: how much of each cloud lies in the other's neighbourhoods.

The ball of a point reaches to its k-th neighbour in its own cloud.

    precision: part of generated points in some ball of the reference    (Kynkaanniemi, eq. 2)
    recall:    part of reference points in some ball of the generated    (Kynkaanniemi, eq. 3)
    density:   balls of the reference that a generated point lies in, over k     (Naeem, eq. 2)
    coverage:  part of the reference's balls that hold a generated point         (Naeem, eq. 3)

Improved Precision and Recall Metric for Assessing Generative Models (Kynkaanniemi et al., 2019),
https://arxiv.org/abs/1904.06991; Reliable Fidelity and Diversity Metrics for Generative Models
(Naeem et al., 2020), https://arxiv.org/abs/2002.09797. All depend on the number of points. Errors
are the spread over other draws of the generated points, with the reference held: exact for the
means over generated points (precision, density), by the jackknife, which leaves out each of them,
for the others. Equal points count as one draw, so that copies do not make an error smaller; that
of recall, whose balls copies empty, is then unknown. So is one where no spread was seen at all.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from zoo_core.config import Range
from zoo_core.evaluation.feature_set import Cloud, Estimate, distance_blocks, with_rows
from zoo_core.uncertainty import UNKNOWN

__all__ = ["Coverage", "Density", "Precision", "Recall"]

_ROUNDING = 1e-9
_Neighbours = Annotated[int, Range(1, 1000)]


@dataclass(frozen=True)
class Precision:
    """Part of the generated points that look like the reference."""

    better: ClassVar[str] = "higher"
    error_over: ClassVar[str] = "samples"

    k: _Neighbours = 3

    def __call__(self, generated: Cloud, reference: Cloud) -> Estimate:
        return _mean(generated, _balls(generated, reference, self.k) > 0)


@dataclass(frozen=True)
class Recall:
    """Part of the reference that the generated points reach."""

    better: ClassVar[str] = "higher"
    error_over: ClassVar[str] = "samples"

    k: _Neighbours = 3

    def __call__(self, generated: Cloud, reference: Cloud) -> Estimate:
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
class Density:
    """How many of the reference's balls a generated point lies in, over k; 1 for the reference."""

    better: ClassVar[str] = "higher"
    error_over: ClassVar[str] = "samples"

    k: _Neighbours = 5

    def __call__(self, generated: Cloud, reference: Cloud) -> Estimate:
        return _mean(generated, _balls(generated, reference, self.k).double() / self.k)


@dataclass(frozen=True)
class Coverage:
    """Part of the reference's balls that hold at least one generated point."""

    better: ClassVar[str] = "higher"
    error_over: ClassVar[str] = "samples"

    k: _Neighbours = 5

    def __call__(self, generated: Cloud, reference: Cloud) -> Estimate:
        reach = _reach(reference, self.k)[:, None]
        covered, lost = 0.0, torch.zeros(generated.distinct, dtype=torch.float64)
        for d, r in with_rows(reference, generated, reach):
            inside = _any_copy(generated, d <= r)
            count = inside.sum(1)
            covered += float((count > 0).sum())
            lost += inside[count == 1].sum(0)
        return _jackknife(covered, covered - lost, len(reference))


def _balls(points: Cloud, centers: Cloud, k: int) -> Tensor:
    """How many balls around `centers` each point lies in, (N,)."""
    reach = _reach(centers, k)
    return torch.cat([(d <= reach).sum(1) for d in distance_blocks(points, centers)])


def _reach(cloud: Cloud, k: int) -> Tensor:
    """Squared radii, a little enlarged: equal distances of integers must not fall apart."""
    scale = cloud.points.double().sub(cloud.mean).square().sum(1).mean()
    return cloud.radii(k) + _ROUNDING * scale


def _mean(generated: Cloud, values: Tensor) -> Estimate:
    return _estimate(float(values.double().mean()), generated.variance(values))


def _any_copy(generated: Cloud, inside: Tensor) -> Tensor:
    """Whether a distinct point lies in a ball, (n, U), where `inside` says it of each, (n, N)."""
    count = torch.zeros(len(inside), generated.distinct, dtype=torch.long)
    return count.index_add_(1, generated.which, inside.long()) > 0


def _estimate(value: float, variance: Tensor) -> Estimate:
    """Its error is unknown where points show no spread but rounding: all in balls, or none."""
    error = float(variance.sqrt())
    return Estimate(value, error if error > _ROUNDING else UNKNOWN)


def _without_one(cloud: Cloud, k: int) -> tuple[Tensor, Tensor]:
    """Reach of the balls that lose a neighbour, (N,), and who is whose: A[i, j] = 1 if j counts
    among the k neighbours of i, float32 (N, N)."""
    nearest = [d.topk(k + 1, dim=1, largest=False).indices for d in distance_blocks(cloud, cloud)]
    adjacency = torch.zeros(len(cloud), len(cloud)).scatter_(1, torch.cat(nearest), 1.0)
    adjacency.fill_diagonal_(0)
    return _reach(cloud, k + 1), adjacency


def _jackknife(covered: float, left_out: Tensor, total: int) -> Estimate:
    """A part of `total`, and its error from what it is without each of n points."""
    n, parts = len(left_out), left_out / total
    variance = (n - 1) / n * (parts - parts.mean()).square().sum()
    return _estimate(covered / total, variance)
