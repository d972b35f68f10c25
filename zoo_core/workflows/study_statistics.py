"""Statistics of samples on the study's tasks, beside the same of the truth.

Shapes: N events x (N, 2) in the plane, or spins x (N, 1, L, L).
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from zoo_core.data.dataset import Dataset
from zoo_core.data.toys import Gaussians
from zoo_core.evaluation.feature_set import Estimate
from zoo_core.uncertainty import UNKNOWN

__all__ = ["Statistic", "statistics"]

_MODE_RADIUS = 4.0
"""A point belongs to a mode within this many standard deviations of it."""

_MIN_SHARE = 0.25
"""Fraction of its fair share of the samples from which a mode counts as covered."""


@dataclass(frozen=True)
class Statistic:
    """A statistic of the samples and the same of the truth."""

    name: str
    value: Estimate
    truth: Estimate


def statistics(x: Tensor, truth: Dataset) -> list[Statistic]:
    """Statistics of samples, beside the same of the test split."""
    test = truth.split("test").batch()[0]
    measures = _plane_measures(truth) if truth.event.shape == (2,) else _lattice_measures(truth)
    return [Statistic(name, _mean(f(x)), _mean(f(test))) for name, f in measures.items()]


def _plane_measures(truth: Dataset) -> dict[str, Any]:
    toy = Gaussians(sd=0.2)
    assert truth.truth is not None

    def nearest(x: Tensor) -> tuple[Tensor, Tensor]:
        distance = torch.cdist(x.double(), toy.means).min(1)
        return distance.values, distance.indices

    def at_mode(x: Tensor) -> Tensor:
        return (nearest(x)[0] < _MODE_RADIUS * toy.noise).double()

    def inside(x: Tensor) -> Tensor:
        distance, mode = nearest(x)
        return mode[distance < _MODE_RADIUS * toy.noise]

    def shares(x: Tensor) -> Tensor:
        count = torch.bincount(inside(x), minlength=len(toy.means)).double()
        return count / count.sum().clamp(min=1)

    def balance(x: Tensor) -> Tensor:
        """sum_k min(share_k, 1/8) = 1 - total variation, as a mean over the points at modes."""
        share = shares(x)
        return (1 / len(toy.means) / share[inside(x)]).clamp(max=1.0)

    def covered(x: Tensor) -> Estimate:
        return Estimate(float((shares(x) >= _MIN_SHARE / len(toy.means)).sum()), UNKNOWN)

    def squared_radius(x: Tensor) -> Tensor:
        distance, _ = nearest(x)
        return distance.square() / (2 * toy.noise**2)

    return {
        "energy, E[log p] (nats)": lambda x: truth.truth(x).clamp(min=-100.0),
        "within 4 sd of a mode": at_mode,
        f"modes, of {len(toy.means)}": covered,
        "balance of the modes": balance,
        "width of the modes (1 is right)": squared_radius,
    }


def _lattice_measures(truth: Dataset) -> dict[str, Any]:
    assert truth.truth is not None

    def spins(x: Tensor) -> Tensor:
        return 2 * x.double() - 1

    def bonds(x: Tensor) -> Tensor:
        s = spins(x)
        across, down = s[..., :-1] * s[..., 1:], s[..., :-1, :] * s[..., 1:, :]
        return torch.cat((across.flatten(1), down.flatten(1)), 1).mean(1)

    def far(x: Tensor) -> Tensor:
        s = spins(x)
        return (s[..., :4] * s[..., 4:]).flatten(1).mean(1)

    return {
        "energy, E[log p] (nats)": truth.truth,
        "neighbours' correlation": bonds,
        "correlation 4 apart": far,
        "|magnetization|": lambda x: spins(x).mean((1, 2, 3)).abs(),
    }


def _mean(values: Tensor | Estimate) -> Estimate:
    return values if isinstance(values, Estimate) else Estimate.mean_of(values)
