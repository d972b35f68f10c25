"""Proposals for importance sampling of continuous densities, fitted to samples but wider.

    q = sum_j a_j t_j(u; m, C),  degrees of freedom infinity, 3 and 1

with mean m and covariance C of the samples. The first component has most of the mass; the others
have heavier tails than any density with a mean. If an event's range is bounded, u is a logit or a
logarithm, so that q lies within the range.

Shapes: N points, D values an event, u (N, D).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo_core.spaces import Event

__all__ = ["Chart", "Mass", "Proposal", "fit", "mass"]

_SHARES = {math.inf: 0.6, 3: 0.2, 1: 0.2}
"""Weight of each component, by its degrees of freedom."""
_WIDER = 1.1
"""Scale of the normal component relative to the samples, so its tails are not too light."""
_EDGE = 1e-6
"""Smallest distance of an event to the ends of its range, relative to the range."""
_RIDGE = 1e-9


@dataclass(frozen=True)
class Chart:
    """Maps continuous events to unbounded points and back, coordinate by coordinate."""

    event: Event

    def points(self, x: Tensor) -> Tensor:
        """u (N, D), float64, of events x (N, *S)."""
        x, (low, high) = x.flatten(1).double(), (self.event.low, self.event.high)
        if low is not None and high is not None:
            return ((x - low) / (high - low)).clamp(_EDGE, 1 - _EDGE).logit()
        if low is not None:
            return _softplus_inverse(x - low)
        if high is not None:
            return -_softplus_inverse(high - x)
        return x

    def events(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """x (N, *S) and log |det dx/du| (N,) of points u (N, D)."""
        low, high = self.event.low, self.event.high
        x, ladj = u, torch.zeros_like(u)
        if low is not None and high is not None:
            inside = u.sigmoid().clamp(_EDGE, 1 - _EDGE)
            x = low + (high - low) * inside
            ladj = math.log(high - low) + F.logsigmoid(u) + F.logsigmoid(-u)
        elif low is not None:
            x, ladj = low + F.softplus(u), F.logsigmoid(u)
        elif high is not None:
            x, ladj = high - F.softplus(-u), F.logsigmoid(-u)
        return x.view(-1, *self.event.shape), ladj.sum(1)


@dataclass(frozen=True)
class Proposal:
    """The mixture q of points u; `root` is a lower triangular square root of C."""

    mean: Tensor
    root: Tensor

    def draw(self, n: int, seed: int) -> Tensor:
        """n points (n, D)."""
        generator = torch.Generator().manual_seed(seed)
        draws: list[Tensor] = []
        for freedom, share in _SHARES.items():
            size = n - sum(map(len, draws)) if freedom == 1 else round(share * n)
            z = torch.randn(size, len(self.mean), generator=generator, dtype=torch.float64)
            draws.append(z * _spread(freedom, size, generator)[:, None])
        return self.mean + torch.cat(draws) @ self.root.mT

    def log_prob(self, u: Tensor) -> Tensor:
        """log q(u), (N,)."""
        d = len(self.mean)
        z = torch.linalg.solve_triangular(self.root, (u - self.mean).mT, upper=False)
        square = z.square().sum(0)
        scale = self.root.diagonal().log().sum()
        terms = [math.log(a) + _log_t(square, d, v) for v, a in _SHARES.items()]
        return torch.stack(terms).logsumexp(0) - scale


def fit(u: Tensor) -> Proposal:
    """The proposal for points that follow samples u (N, D)."""
    centre = u.median(0).values
    width = (u.quantile(0.9, 0) - u.quantile(0.1, 0)).clamp_min(_EDGE)
    central = u[((u - centre).abs() < 10 * width).all(1)]  # heavy tails would make C arbitrary
    kept = central if len(central) > len(u) // 2 else u
    scale = kept.std(0).clamp_min(_EDGE)
    correlation = ((kept - kept.mean(0)) / scale).mT.cov().view(len(scale), len(scale))
    eye = torch.eye(len(scale), dtype=u.dtype)
    root = torch.linalg.cholesky(correlation + _RIDGE * eye)
    return Proposal(kept.mean(0), scale[:, None] * root)


@dataclass(frozen=True)
class Mass:
    """An estimate of the integral of p, its standard error, and the effective sample size."""

    value: float
    error: float
    effective: float
    draws: int

    def __str__(self) -> str:
        return (
            f"{self.value:.4g} +- {self.error:.2g} (effective sample size "
            f"{self.effective:.0f} of {self.draws})"
        )


def mass(log_w: Tensor, log_w_of_samples: Tensor) -> Mass:
    """E_q[w] from log w = log p - log q at draws of q (N,), and at samples of the model (M,).

    The effective size is the smaller of (sum w)^2 / sum w^2 and of N E_q[w] / E_p[w]: the second
    is small where p has mass that q hardly ever meets.
    """
    n = len(log_w)
    log_mean = log_w.logsumexp(0) - math.log(n)
    share = (log_w - log_w.logsumexp(0)).exp()
    of_draws = float(1 / share.square().sum())
    log_ratio = log_w_of_samples.logsumexp(0) - math.log(len(log_w_of_samples)) - log_mean
    value = float(log_mean.exp())
    error = value * math.sqrt(max(0.0, float(share.square().sum()) - 1 / n))
    return Mass(value, error, min(of_draws, n * math.exp(-float(log_ratio.clamp(0, 700)))), n)


def _softplus_inverse(y: Tensor) -> Tensor:
    y = y.clamp_min(_EDGE)
    return y + torch.log(-torch.expm1(-y))


def _spread(freedom: float, n: int, generator: torch.Generator) -> Tensor:
    """Factors of normal draws, (n,): sqrt(v / chi^2_v), or a constant."""
    if freedom == math.inf:
        return torch.full((n,), _WIDER, dtype=torch.float64)
    z = torch.randn(n, int(freedom), generator=generator, dtype=torch.float64)
    return (freedom / z.square().sum(1)).sqrt()


def _log_t(square: Tensor, d: int, freedom: float) -> Tensor:
    """Log-density of a standard t (or the wider normal) at squared distances (N,)."""
    if freedom == math.inf:
        return -square / (2 * _WIDER**2) - d * math.log(_WIDER * math.sqrt(2 * math.pi))
    v = freedom
    constant = math.lgamma((v + d) / 2) - math.lgamma(v / 2) - d / 2 * math.log(v * math.pi)
    return constant - (v + d) / 2 * torch.log1p(square / v)
