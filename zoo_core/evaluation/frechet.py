r"""The Frechet distance between Gaussians fitted to two sets of features.

    FD = |m_1 - m_2|^2 + tr(S_1 + S_2 - 2 (S_2^{1/2} S_1 S_2^{1/2})^{1/2})          (Heusel, eq. 6)

GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium (Heusel et al.,
2017), https://arxiv.org/abs/1706.08500. It is called FID only on Inception features, with their
reference protocol. FD of n samples is biased upwards by about tr(S)/n, and by more in many
dimensions: compare only numbers of equal n.

The standard error is that of the delta method, over other draws of both sets: a sample x of the
first moves FD by

    2 (m_1 - m_2) . (x - m_1) + (x - m_1)^T (I - T) (x - m_1) + const

over n, where T = S_2^{1/2} (S_2^{1/2} S_1 S_2^{1/2})^{-1/2} S_2^{1/2} transports 1 to 2. The same
holds for the second; two models that are measured against one reference share its error.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from zoo_core.evaluation.feature_set import Estimate, FeatureSet

__all__ = ["Frechet"]

_RELATIVE_RANK = 1e-10


@dataclass(frozen=True)
class Frechet:
    """Frechet distance; lower is better."""

    better: ClassVar[str] = "lower"
    error_over: ClassVar[str] = "samples and reference"
    max_features: ClassVar[int] = 2_048
    """Decomposing F x F matrices takes F^3 time: fine for Inception, not for large images."""

    def __call__(self, generated: FeatureSet, reference: FeatureSet) -> Estimate:
        root = reference.derive("root", lambda: _power(reference.cov, 0.5))  # R = S_2^{1/2}
        inverse = reference.derive("inverse_root", lambda: _power(reference.cov, -0.5))
        cross = root @ generated.cov @ root  # C = R S_1 R, with the eigenvalues of S_1 S_2
        middle = _power(cross, 0.5)
        gap = generated.mean - reference.mean
        trace = (generated.cov.diagonal() + reference.cov.diagonal()).sum()
        value = gap.square().sum() + trace - 2 * middle.diagonal().sum()
        there = root @ _power(cross, -0.5) @ root  # T from 1 to 2, and back
        back = inverse @ middle @ inverse
        variance = _variance(generated, gap, there) + _variance(reference, -gap, back)
        return Estimate(max(float(value), 0.0), float(variance.sqrt()))


def _variance(features: FeatureSet, gap: Tensor, transport: Tensor) -> Tensor:
    """Variance of the mean influence of the points."""
    x = features.points.double() - features.mean
    return features.variance(2 * x @ gap + (x.square() - x @ transport * x).sum(1))


def _power(matrix: Tensor, power: float) -> Tensor:
    """A power of a symmetric positive semidefinite matrix, on its range."""
    values, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
    kept = values > _RELATIVE_RANK * values.max()
    scale = torch.where(kept, values.clamp(min=torch.finfo(values.dtype).tiny) ** power, 0.0)
    result: Tensor = (vectors * scale) @ vectors.T
    return result
