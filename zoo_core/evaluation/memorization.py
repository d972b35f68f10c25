"""Memorization: do samples lie nearer to the events of training than to others like them?

    m = P(d(x, T) < d(x, H)) + P(d(x, T) = d(x, H)) / 2,   d(x, A) = min_{a in A} |f(x) - f(a)|

x is a sample, f the features, T a random part of `train`, and H as many events that were not
trained on, from all other splits. If x depends no more on T than on H, m is 1/2 whatever the
features and however bad the samples are; copies of training events get 1/2 + |T| / (2 |train|).
Ties, such as events that are in both, count half.

A test of data-copying (Meehan et al., 2020, https://arxiv.org/abs/2004.05675) with equally many
events on both sides; AuthPct (Alaa et al., 2022, https://arxiv.org/abs/2102.08921) asks the same
of single samples.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from zoo_core.data.dataset import Dataset
from zoo_core.data.shuffle import choose
from zoo_core.evaluation.feature_set import Cloud, Estimate, distance_blocks, with_rows

__all__ = ["Memorization", "Sides", "sides"]

_MOST = 20_000
_ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class Sides:
    """Equally many events that were trained on and that were not; `copies` is m of copies."""

    trained: Tensor
    held: Tensor
    copies: float
    places: dict[str, Tensor]
    """Where the rows of each held-out split are in `held`; -1 where they are not, (N,)."""


def sides(data: Dataset, *, seed: int) -> Sides | None:
    """The events that samples are held against; None where nothing was held out."""
    train = data.split("train").x
    others = {name: split.x for name, split in data.splits.items() if name != "train"}
    total = sum(map(len, others.values()))
    n = min(total, len(train), _MOST)
    if n < 2:
        return None
    kept = choose(seed, total, n, stream="evaluation/held out")
    places = torch.full((total,), -1).index_put((kept,), torch.arange(n))
    parts = torch.split(places, [len(x) for x in others.values()])
    return Sides(
        train[choose(seed, len(train), n, stream="evaluation/trained")],
        torch.cat(list(others.values()))[kept],
        0.5 + n / (2 * len(train)),
        dict(zip(others, parts, strict=True)),
    )


@dataclass(frozen=True, eq=False)
class Memorization:
    """m of generated events; 1/2 is ideal, and less is no better."""

    trained: Cloud
    held: Cloud

    def __call__(self, generated: Cloud, own: Tensor | None = None) -> Estimate:
        """`own` (N,) is where in `held` each event is itself, which then does not count.

        The binomial error is that of fair coins, one for each neighbour that the samples have:
        samples far from all data share a few, and which side these are on is chance.
        """
        to_trained, i = _nearest(generated, self.trained)
        to_held, j = _nearest(generated, self.held, own)
        gap = to_trained - to_held
        scale = self.held.points.double().sub(self.held.mean).square().sum(1).mean()
        tie = gap.abs() <= _ROUNDING * scale
        nearer = torch.where(tie, 0.5, (gap < 0).double())
        shared = torch.where(gap < 0, i, len(self.trained) + j).bincount().double()
        return Estimate(float(nearer.mean()), float(shared.norm()) / (2 * len(generated)))


def _nearest(points: Cloud, others: Cloud, own: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Squared distances to the nearest of `others`, and which it is, both (N,)."""
    blocks = distance_blocks(points, others)
    if own is not None:
        column = torch.arange(len(others))
        rows = with_rows(points, others, own[:, None])
        blocks = (d.masked_fill(column == o, torch.inf) for d, o in rows)
    found = [d.min(1) for d in blocks]
    return torch.cat([f.values for f in found]), torch.cat([f.indices for f in found])
