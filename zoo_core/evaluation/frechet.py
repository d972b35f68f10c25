r"""The Frechet distance between Gaussians fitted to two clouds of features.

    FD = |m_1 - m_2|^2 + tr(S_1 + S_2 - 2 (S_2^{1/2} S_1 S_2^{1/2})^{1/2})          (Heusel, eq. 6)

GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium (Heusel et al.,
2017), https://arxiv.org/abs/1706.08500. It is called FID only on Inception features and their
reference protocol. FD of n samples is too large by about tr(S)/n and more in many dimensions, so
compare numbers of equal n alone.

The standard error is the delta method's, over other draws of both clouds: a sample x of the first
moves FD by

    2 (m_1 - m_2) . (x - m_1) + (x - m_1)^T (I - T) (x - m_1) + const

over n, where T = S_2^{1/2} (S_2^{1/2} S_1 S_2^{1/2})^{-1/2} S_2^{1/2} transports 1 to 2. A sample
of the second does likewise, and two models measured against one reference share that part.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from zoo_core.evaluation.feature_set import Cloud, Estimate

__all__ = ["Frechet"]

_RELATIVE_RANK = 1e-10


@dataclass(frozen=True)
class Frechet:
    """Frechet distance, the lower the better."""

    better: ClassVar[str] = "lower"
    error_over: ClassVar[str] = "samples and reference"
    most_features: ClassVar[int] = 2_048
    """It decomposes F x F matrices, in time F^3: Inception's features fit, large images do not."""

    def __call__(self, generated: Cloud, reference: Cloud) -> Estimate:
        root = reference.derive("root", lambda: _power(reference.cov, 0.5))  # R = S_2^{1/2}
        inverse = reference.derive("inverse_root", lambda: _power(reference.cov, -0.5))
        cross = root @ generated.cov @ root  # C = R S_1 R, with the eigenvalues of S_1 S_2
        middle = _power(cross, 0.5)
        gap = generated.mean - reference.mean
        trace = (generated.cov.diagonal() + reference.cov.diagonal()).sum()
        value = gap.square().sum() + trace - 2 * middle.diagonal().sum()
        forth = root @ _power(cross, -0.5) @ root  # T from 1 to 2, and back
        back = inverse @ middle @ inverse
        variance = _variance(generated, gap, forth) + _variance(reference, -gap, back)
        return Estimate(max(float(value), 0.0), float(variance.sqrt()))


def _variance(cloud: Cloud, gap: Tensor, transport: Tensor) -> Tensor:
    """Of the mean influence of a cloud's points."""
    off = cloud.points.double() - cloud.mean
    return cloud.variance(2 * off @ gap + (off.square() - off @ transport * off).sum(1))


def _power(matrix: Tensor, power: float) -> Tensor:
    """A power of a symmetric positive semidefinite matrix, on its range."""
    values, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
    kept = values > _RELATIVE_RANK * values.max()
    scale = torch.where(kept, values.clamp(min=torch.finfo(values.dtype).tiny) ** power, 0.0)
    result: Tensor = (vectors * scale) @ vectors.T
    return result
