"""Memorization: are samples nearer to training events than to held-out ones?

    m = P(d(x, T) < d(x, H)) + P(d(x, T) = d(x, H)) / 2,   d(x, A) = min_{a in A} |f(x) - f(a)|

x is a sample, f the features, T a random subset of `train`, and H as many held-out events of all
other splits. If x depends no more on T than on H, m is 1/2, whatever the features and however bad
the samples; copies of training events get 1/2 + |T| / (2 |train|). Ties, such as events that are
in both sets, count half.

This is a test of data-copying (Meehan et al., 2020, https://arxiv.org/abs/2004.05675) with equally
many events in both sets; AuthPct (Alaa et al., 2022, https://arxiv.org/abs/2102.08921) asks the
same of single samples.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from zoo_core.data.batches import read
from zoo_core.data.dataset import Dataset
from zoo_core.data.shuffle import choose
from zoo_core.evaluation.feature_set import Estimate, FeatureSet, distance_blocks, with_rows

__all__ = ["Memorization", "ReferenceSets", "reference_sets"]

_MAX_EVENTS = 20_000
_ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class ReferenceSets:
    """Equally many events that were trained on and that were held out; `copies` is m of copies."""

    trained: Tensor
    held: Tensor
    copies: float
    positions: dict[str, Tensor]
    """The index in `held` of each event of a held-out split, or -1, (N,)."""


def reference_sets(data: Dataset, *, seed: int) -> ReferenceSets | None:
    """The events that samples are compared with; None if nothing was held out."""
    train = data.split("train")
    others = {name: split for name, split in data.splits.items() if name != "train"}
    total = sum(map(len, others.values()))
    n = min(total, len(train), _MAX_EVENTS)
    if n < 2:
        return None
    kept = choose(seed, total, n, stream="evaluation/held out")
    positions = torch.full((total,), -1).index_put((kept,), torch.arange(n))
    by_split = torch.split(positions, [len(x) for x in others.values()])
    held = [read(data.event, x, p >= 0)[0] for x, p in zip(others.values(), by_split, strict=True)]
    trained = choose(seed, len(train), n, stream="evaluation/trained")
    return ReferenceSets(
        read(data.event, train, trained)[0],
        torch.cat(held),
        0.5 + n / (2 * len(train)),
        dict(zip(others, by_split, strict=True)),
    )


@dataclass(frozen=True, eq=False)
class Memorization:
    """m of generated events; 1/2 is ideal, and lower is no better."""

    trained: FeatureSet
    held: FeatureSet

    def __call__(self, generated: FeatureSet, own: Tensor | None = None) -> Estimate:
        """m with its standard error.

        `own` (N,) is the index of each event itself in `held`, which does not count, or -1. The
        error is that of one fair coin for each distinct neighbour: samples far from all data share
        a few neighbours, and chance decides which set these are in.
        """
        to_trained, i = _nearest(generated, self.trained)
        to_held, j = _nearest(generated, self.held, own)
        gap = to_trained - to_held
        scale = self.held.points.double().sub(self.held.mean).square().sum(1).mean()
        tie = gap.abs() <= _ROUNDING * scale
        nearer = torch.where(tie, 0.5, (gap < 0).double())
        shared = torch.where(gap < 0, i, len(self.trained) + j).bincount().double()
        return Estimate(float(nearer.mean()), float(shared.norm()) / (2 * len(generated)))


def _nearest(
    points: FeatureSet, others: FeatureSet, own: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Squared distances to the nearest of `others`, and its index, both (N,)."""
    blocks = distance_blocks(points, others)
    if own is not None:
        column = torch.arange(len(others))
        rows = with_rows(points, others, own[:, None])
        blocks = (d.masked_fill(column == o, torch.inf) for d, o in rows)
    nearest = [d.min(1) for d in blocks]
    return torch.cat([n.values for n in nearest]), torch.cat([n.indices for n in nearest])
