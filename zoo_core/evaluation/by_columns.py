"""A baseline of a group of columns: independent baselines of some columns each.

Shapes: N events, W columns.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from zoo_core.catalog.specs import LikelihoodKind
from zoo_core.evaluation.baseline import NOTHING, Baseline
from zoo_core.rng import Rng
from zoo_core.spaces import Condition, Event

__all__ = ["ByColumns"]


@dataclass(frozen=True, eq=False)
class ByColumns:
    """p(x) = prod_j p_j(x[columns j]), where every column is in one factor."""

    event: Event
    factors: tuple[tuple[list[int], Baseline], ...]
    name: str
    told: Condition = NOTHING

    @property
    def kind(self) -> LikelihoodKind:
        """Of integers a probability, else a density in the reals and a probability beside them."""
        return LikelihoodKind("exact" if self.event.discrete else "exact_density", "equal")

    def log_prob(self, x: Tensor, y: Tensor | None, *, seed: int = 0) -> Tensor:
        terms = [self._of(b).log_prob(x[:, at], y, seed=seed) for at, b in self.factors]
        return torch.stack(terms).sum(0)

    def sample(self, rng: Rng, y: Tensor | None) -> Tensor:
        dtype = torch.int64 if self.event.discrete else torch.float32
        x = torch.empty(len(rng), self.event.dims, dtype=dtype)
        for j, (at, baseline) in enumerate(self.factors):
            x[:, at] = self._of(baseline).sample(rng.scope(str(j)), y).to(dtype)
        return x

    def _of(self, baseline: Baseline) -> Baseline:
        """A factor that is told what this baseline is told."""
        told: Baseline = replace(baseline, told=self.told)  # type: ignore[type-var]
        return told
