"""A mixture of Gaussians, for each class, by expectation-maximization (Dempster et al., 1977).

    r_nk = w_k N(x_n; m_k, S_k) / sum_j w_j N(x_n; m_j, S_j)
    w_k = mean_n r_nk,   m_k = sum_n r_nk x_n / sum_n r_nk
    S_k = sum_n r_nk (x_n - m_k)(x_n - m_k)' / sum_n r_nk + ridge diag(var x)

The number of components and the ridge are the best on `valid`. Shapes: N events, D values, k
components, C classes (1 without).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from zoo_core.catalog.specs import LikelihoodKind
from zoo_core.contracts import Batch
from zoo_core.data.dataset import Source
from zoo_core.data.shuffle import choose
from zoo_core.evaluation.baseline import NOTHING, classes_of, table_rows
from zoo_core.rng import Rng
from zoo_core.spaces import Condition, Event

__all__ = ["GaussianMixture"]

_COMPONENTS = (2, 3, 5, 8)
_RIDGES = (1e-3, 1e-2, 1e-1, 0.3)
_STEPS, _GAIN = 60, 1e-3
"""EM ends when the mean log-density rises by less nats in a step."""
_EVENTS_EACH = 5
"""Events of a class for each component, at least."""
_MAX_EVENTS = 20_000

_Parameters = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True, eq=False)
class GaussianMixture:
    """p(x | c) = sum_k w_ck N(x; m_ck, S_ck), with full covariances."""

    event: Event
    log_w: Tensor  # (C, k), float64
    mean: Tensor  # (C, k, D)
    root: Tensor  # Cholesky factors of S, (C, k, D, D)
    kind: LikelihoodKind = LikelihoodKind("exact_density", "equal")
    told: Condition = NOTHING

    @property
    def name(self) -> str:
        return f"gaussian_mixture(k={self.log_w.shape[1]})"

    @classmethod
    def fit(
        cls, event: Event, split: Source, valid: Batch, classes: int | None
    ) -> "GaussianMixture":
        rows = choose(0, len(split), _MAX_EVENTS, stream="null/mixture")
        events, labels = split.batch(rows)
        x, y = events.flatten(1).double(), table_rows(labels, len(rows), classes)
        groups = [x[y == c] if bool((y == c).any()) else x for c in range(classes or 1)]
        most = min(map(len, groups)) // _EVENTS_EACH
        fits = [
            cls._of(event, [_em(group, k, ridge) for group in groups])
            for k in [k for k in _COMPONENTS if k <= most] or [1]
            for ridge in _RIDGES
        ]
        return max(fits, key=lambda f: float(f.log_prob(*valid).mean()))

    @classmethod
    def _of(cls, event: Event, of_class: list[_Parameters]) -> "GaussianMixture":
        log_w, mean, root = (torch.stack(p) for p in zip(*of_class, strict=True))
        return cls(event, log_w, mean, root)

    def log_prob(self, x: Tensor, y: Tensor | None, *, seed: int = 0) -> Tensor:
        rows = table_rows(y, len(x), classes_of(self.mean), self.told)
        flat, log_p = x.flatten(1).double(), torch.empty(len(x), dtype=torch.float64)
        for c in rows.unique().tolist():
            joint = _log_joint(flat[rows == c], self.log_w[c], self.mean[c], self.root[c])
            log_p[rows == c] = joint.logsumexp(1)
        return log_p

    def sample(self, rng: Rng, y: Tensor | None) -> Tensor:
        rows = table_rows(y, len(rng), classes_of(self.mean), self.told)
        k = rng.categorical(self.log_w[rows], stream="null/component")
        eps = rng.normal((self.event.dims,), stream="null").double()
        x = self.mean[rows, k] + torch.einsum("nij,nj->ni", self.root[rows, k], eps)
        return x.float().view(len(rng), *self.event.shape)


def _em(x: Tensor, k: int, ridge: float) -> _Parameters:
    """log w (k,), m (k, D) and Cholesky factors of S (k, D, D) of events (N, D)."""
    floor = ridge * x.var(0, correction=0).clamp(min=1e-12).diag()
    mean = x[choose(0, len(x), k, stream="null/start")]
    centered = x - x.mean(0)
    cov = (centered.T @ centered / len(x) + floor).expand(k, -1, -1)
    log_w = x.new_full((k,), -math.log(k))
    root, last = torch.linalg.cholesky(cov), -math.inf
    for _ in range(_STEPS):
        joint = _log_joint(x, log_w, mean, root)
        now = float(joint.logsumexp(1).mean())
        if now - last < _GAIN:
            break
        last = now
        log_w, mean, root = _maximized(x, joint.softmax(1), floor)
    return log_w, mean, root


def _maximized(x: Tensor, r: Tensor, floor: Tensor) -> _Parameters:
    """The parameters that maximize the likelihood, given responsibilities r (N, k)."""
    n = r.sum(0).clamp(min=1e-9)  # (k,)
    mean = r.T @ x / n[:, None]
    centered = x - mean[:, None]  # (k, N, D)
    cov = (r.T[:, :, None] * centered).mT @ centered / n[:, None, None] + floor
    return (n / n.sum()).log(), mean, torch.linalg.cholesky(cov)


def _log_joint(x: Tensor, log_w: Tensor, mean: Tensor, root: Tensor) -> Tensor:
    """log w_k N(x; m_k, S_k), (N, k)."""
    centered = (x - mean[:, None]).mT  # (k, D, N)
    z = torch.linalg.solve_triangular(root, centered, upper=False)
    log_det = root.diagonal(dim1=1, dim2=2).log().sum(1)
    constant = log_w - log_det - 0.5 * x.shape[1] * math.log(2 * math.pi)
    joint: Tensor = constant[:, None] - 0.5 * z.square().sum(1)
    return joint.T
