"""Sets of features, from which scores of sample quality are computed.

Shapes: N points, F features, k the number of neighbours. All is in float64; distances are computed
in blocks of bounded memory.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from zoo_core.compat import moved_attribute
from zoo_core.errors import UsageError
from zoo_core.uncertainty import finite_or_null, from_json, mean_error, plus_minus

__all__ = ["Estimate", "FeatureSet", "distance_blocks", "with_rows"]

_BLOCK_VALUES = 1 << 22


@dataclass(frozen=True)
class Estimate:
    """A number and its standard error, which is infinite if it is unknown."""

    value: float
    std_err: float

    @classmethod
    def mean_of(cls, values: Tensor) -> "Estimate":
        """The mean of independent values (N,) with its standard error."""
        values = values.double()
        return cls(float(values.mean()), mean_error(values))

    @classmethod
    def from_record(cls, record: Mapping[str, float | None]) -> "Estimate":
        """The estimate that `record` gave."""
        return cls(from_json(record["value"], math.nan), from_json(record["std_err"]))

    def record(self) -> dict[str, float | None]:
        """The JSON form, null for what is unknown."""
        return {name: finite_or_null(number) for name, number in vars(self).items()}

    def __str__(self) -> str:
        return f"{self.value:.4g} {plus_minus(self.std_err, '.2g')}"


@dataclass(frozen=True, eq=False)
class FeatureSet:
    """Features (N, F) of N events; what scores derive from them is computed once, on demand."""

    points: Tensor
    derived: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.points.ndim != 2 or len(self.points) < 2:
            raise UsageError(
                f"features have shape {tuple(self.points.shape)}; expected (N, F) with N >= 2."
            )
        if not bool(self.points.isfinite().all()):
            raise UsageError("features hold NaN or infinite values; no score is defined.")

    def __len__(self) -> int:
        return len(self.points)

    @cached_property
    def mean(self) -> Tensor:
        """The mean, (F,), float64."""
        return self.points.double().mean(0)

    @cached_property
    def cov(self) -> Tensor:
        """The covariance, (F, F), float64, with N - 1 in the denominator."""
        centered = self.points.double() - self.mean
        return centered.T @ centered / (len(self) - 1)

    def radii(self, k: int) -> Tensor:
        """Squared distance of each point to its k-th nearest other point, (N,)."""
        if not 1 <= k < len(self):
            raise UsageError(f"k = {k}; {len(self)} points have neighbours 1 to {len(self) - 1}.")
        return self.derive(f"radii{k}", lambda: _radii(self, k))

    @cached_property
    def which(self) -> Tensor:
        """The index 0..U-1 of each point among the U distinct points, (N,)."""
        indices: Tensor = torch.unique(self.points, dim=0, return_inverse=True)[1]
        return indices

    @cached_property
    def distinct(self) -> int:
        """Number U of distinct points."""
        return int(self.which.max()) + 1

    def variance(self, values: Tensor) -> Tensor:
        """Variance of the mean of a value v of each point (N,); equal points count as one draw.

            U / (U - 1) sum_g (sum_{i in g} (v_i - mean v))^2 / N^2

        over the groups g of equal points. It is infinite for U = 1.
        """
        U, centered = self.distinct, values.double() - values.double().mean()
        if U < 2:
            return torch.full((), torch.inf, dtype=torch.float64)
        sums = torch.zeros(U, dtype=torch.float64).index_add_(0, self.which, centered)
        return sums.square().sum() * U / (U - 1) / len(self) ** 2

    def derive(self, name: str, compute: Callable[[], Tensor]) -> Tensor:
        """The result of `compute`, computed once and kept under `name`."""
        if name not in self.derived:
            self.derived[name] = compute()
        return self.derived[name]


def distance_blocks(a: FeatureSet, b: FeatureSet) -> Iterator[Tensor]:
    """Yield squared distances (n, N_b) from n points of `a` at a time to all points of `b`."""
    center = b.mean
    x, y = (a.points.double() - center), (b.points.double() - center)
    norm = y.square().sum(1)
    for block in torch.split(x, max(1, _BLOCK_VALUES // len(b))):
        yield torch.addmm(norm, block, y.T, alpha=-2).add_(block.square().sum(1, keepdim=True))


def with_rows(
    points: FeatureSet, centers: FeatureSet, values: Tensor
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield blocks of distances, each with the rows of `values` (N, ...) for its points."""
    start = 0
    for d in distance_blocks(points, centers):
        yield d, values[start : start + len(d)]
        start += len(d)


def _radii(features: FeatureSet, k: int) -> Tensor:
    """Squared distances to the k-th neighbours: the nearest point of all is the point itself."""
    nearest = [d.topk(k + 1, dim=1, largest=False) for d in distance_blocks(features, features)]
    return torch.cat([block.values.max(1).values for block in nearest])


def __getattr__(name: str) -> Any:
    return moved_attribute(__name__, name)
