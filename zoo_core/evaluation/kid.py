r"""The kernel distance: squared maximum mean discrepancy with a polynomial kernel.

    KD = E k(x, x') + E k(y, y') - 2 E k(x, y),   k(a, b) = (a . b / F + 1)^3     (Binkowski, 4)

Demystifying MMD GANs (Binkowski et al., 2018), https://arxiv.org/abs/1801.01401. The estimate is
the unbiased U-statistic over all pairs, and may be negative. It is called KID only on Inception
features, with their reference protocol. Features are not rescaled: KD depends on their scale.

The standard error is that of the jackknife over other draws of both sets, computed exactly from
sums over the rows of the kernel. Two models that are measured against one reference share its
error.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from zoo_core.config import Range
from zoo_core.evaluation.feature_set import Estimate, FeatureSet

__all__ = ["KernelDistance"]

_BLOCK_VALUES = 1 << 22


@dataclass(frozen=True)
class KernelDistance:
    """Kernel distance; lower is better."""

    better: ClassVar[str] = "lower"
    error_over: ClassVar[str] = "samples and reference"

    degree: Annotated[int, Range(1, 10)] = 3

    def __call__(self, generated: FeatureSet, reference: FeatureSet) -> Estimate:
        x, y = generated.points.double(), reference.points.double()
        xx, yy = self._within(generated), self._within(reference)
        xy, yx = self._rows(x, y), self._rows(y, x)
        n, m = len(x), len(y)
        cross = xy.sum() / (n * m)
        value = xx.sum() / (n * (n - 1)) + yy.sum() / (m * (m - 1)) - 2 * cross
        variance = _jackknife(generated, xx, xy, m) + _jackknife(reference, yy, yx, n)
        return Estimate(float(value), float(variance.sqrt()))

    def _within(self, features: FeatureSet) -> Tensor:
        """sum_{j != i} k(x_i, x_j), (N,)."""
        x = features.points.double()
        return features.derive(
            f"kernel{self.degree}", lambda: self._rows(x, x) - self._diagonal(x)
        )

    def _rows(self, x: Tensor, y: Tensor) -> Tensor:
        """sum_j k(x_i, y_j), (N,)."""
        parts = torch.split(x, max(1, _BLOCK_VALUES // len(y)))
        return torch.cat([self._kernel(part @ y.T, x.shape[1]).sum(1) for part in parts])

    def _diagonal(self, x: Tensor) -> Tensor:
        return self._kernel(x.square().sum(1), x.shape[1])

    def _kernel(self, product: Tensor, dims: int) -> Tensor:
        base = product / dims + 1
        power = base.clone()
        for _ in range(self.degree - 1):
            power *= base
        return power


def _jackknife(features: FeatureSet, within: Tensor, across: Tensor, others: int) -> Tensor:
    """Jackknife variance over n points, from their kernel sums (n,)."""
    n = len(within)
    if n < 3:
        return torch.full((), torch.inf, dtype=within.dtype)
    inner = (within.sum() - 2 * within) / ((n - 1) * (n - 2))
    outer = (across.sum() - across) / ((n - 1) * others)
    return features.variance((n - 1) * (inner - 2 * outer))
