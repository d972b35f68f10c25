"""Clouds of features: what scores of sample quality are computed from.

Shapes: N points, F features, k the number of neighbours. Everything is in float64; distances are
computed in blocks of bounded memory.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from zoo_core.errors import UsageError
from zoo_core.uncertainty import finite_or_null, from_json, mean_error, plus_minus

__all__ = ["Cloud", "Estimate", "distance_blocks", "with_rows"]

_BLOCK_VALUES = 1 << 22


@dataclass(frozen=True)
class Estimate:
    """A number and its standard error, which is infinite where it is not known."""

    value: float
    std_err: float

    @classmethod
    def mean_of(cls, values: Tensor) -> "Estimate":
        """The mean of independent values (N,) with its error."""
        values = values.double()
        return cls(float(values.mean()), mean_error(values))

    @classmethod
    def from_record(cls, record: Mapping[str, float | None]) -> "Estimate":
        return cls(from_json(record["value"], math.nan), from_json(record["std_err"]))

    def record(self) -> dict[str, float | None]:
        """The JSON form, null for what is not known."""
        return {name: finite_or_null(number) for name, number in vars(self).items()}

    def __str__(self) -> str:
        return f"{self.value:.4g} {plus_minus(self.std_err, '.2g')}"


@dataclass(frozen=True, eq=False)
class Cloud:
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
        """(F,), float64."""
        return self.points.double().mean(0)

    @cached_property
    def cov(self) -> Tensor:
        """(F, F), float64, with N - 1 in the denominator."""
        off = self.points.double() - self.mean
        return off.T @ off / (len(self) - 1)

    def radii(self, k: int) -> Tensor:
        """Squared distance of each point to its k-th nearest other point, (N,)."""
        if not 1 <= k < len(self):
            raise UsageError(f"k = {k}; {len(self)} points have neighbours 1 to {len(self) - 1}.")
        return self.derive(f"radii{k}", lambda: _radii(self, k))

    @cached_property
    def which(self) -> Tensor:
        """Which of U distinct points each point is, 0..U-1, (N,)."""
        which: Tensor = torch.unique(self.points, dim=0, return_inverse=True)[1]
        return which

    @cached_property
    def distinct(self) -> int:
        """Number U of distinct points."""
        return int(self.which.max()) + 1

    def variance(self, parts: Tensor) -> Tensor:
        """Of the mean of what each point contributes (N,), where equal points are one draw.

            U / (U - 1) sum_g (sum_{i in g} (v_i - mean v))^2 / N^2

        N points that are copies of U tell as much as U do: it is infinite for U = 1.
        """
        U, off = self.distinct, parts.double() - parts.double().mean()
        if U < 2:
            return torch.full((), torch.inf, dtype=torch.float64)
        sums = torch.zeros(U, dtype=torch.float64).index_add_(0, self.which, off)
        return sums.square().sum() * U / (U - 1) / len(self) ** 2

    def derive(self, name: str, compute: Callable[[], Tensor]) -> Tensor:
        """What `compute` gives, kept under a name."""
        if name not in self.derived:
            self.derived[name] = compute()
        return self.derived[name]


def distance_blocks(a: Cloud, b: Cloud) -> Iterator[Tensor]:
    """Squared distances from the points of `a`, some at a time, to all of `b`: (n, N_b)."""
    center = b.mean
    x, y = (a.points.double() - center), (b.points.double() - center)
    norm = y.square().sum(1)
    for part in torch.split(x, max(1, _BLOCK_VALUES // len(b))):
        yield torch.addmm(norm, part, y.T, alpha=-2).add_(part.square().sum(1, keepdim=True))


def with_rows(points: Cloud, centers: Cloud, values: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Blocks of distances with the rows of `values` (N, ...) that belong to them."""
    start = 0
    for d in distance_blocks(points, centers):
        yield d, values[start : start + len(d)]
        start += len(d)


def _radii(cloud: Cloud, k: int) -> Tensor:
    """The nearest point of all is the point itself: the k-th neighbour is the (k+1)-th nearest."""
    nearest = [d.topk(k + 1, dim=1, largest=False) for d in distance_blocks(cloud, cloud)]
    return torch.cat([found.values.max(1).values for found in nearest])
