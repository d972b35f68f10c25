"""Batches of distributions, as encoders, decoders and priors return them.

Draws are from an `Rng`; log-densities are in nats, summed over S, one per row. Shapes: B batch, S
any event shape. The protocol is `zoo_core.catalog.capabilities.Distribution`.

>>> q = Normal(torch.zeros(1, 2), torch.zeros(1, 2))
>>> round(q.log_prob(torch.zeros(1, 2)).item(), 4)  # -log(2 pi)
-1.8379
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo_core.compat import renamed_fields
from zoo_core.rng import Rng
from zoo_core.spaces.event import rescale_levels
from zoo_kernels import mixture_logistics

if TYPE_CHECKING:  # annotations only; the tests check them (tests/shapes.py)
    from jaxtyping import Float, Int, Integer, Num

__all__ = [
    "Bernoulli",
    "Categorical",
    "DiscretizedLogistic",
    "Normal",
    "Product",
    "RoundedNormal",
    "kl",
    "kl_by_unit",
]

_LOG_2PI = math.log(2 * math.pi)
_FAR = 1e3
"""Number of standard deviations beyond which a normal tail is zero."""
_MAX_LOG_SCALE = 40.0
"""Above it a logistic lies in the outer bins alone, and e^x soon overflows float32."""


@dataclass(frozen=True)
class Normal:
    """N(mean, diag exp(2 log_std)); `mean` is (B, *S), to which `log_std` broadcasts."""

    mean: Float[Tensor, "B *S"]
    log_std: Float[Tensor, "#B *#S"]

    @classmethod
    def standard(cls, *shape: int, like: Tensor) -> Normal:
        """N(0, 1) of shape (B, *S), on the device and in the dtype of `like`."""
        zeros = torch.zeros(shape, device=like.device, dtype=like.dtype)
        return cls(zeros, zeros)

    def sample(self, rng: Rng, *, stream: str, step: int = 0) -> Float[Tensor, "B *S"]:
        """A draw mean + std eps, (B, *S), differentiable in both."""
        eps = rng.normal(self.mean.shape[1:], stream=stream, step=step)
        return self.mean + self.log_std.exp() * eps.to(self.mean.dtype)

    def log_prob(self, x: Float[Tensor, "B *S"]) -> Float[Tensor, "B"]:
        """Log-density of x (B, *S), (B,)."""
        z = (x - self.mean) * (-self.log_std).exp()
        return _sum(-0.5 * (z.square() + _LOG_2PI) - self.log_std)


@dataclass(frozen=True)
class RoundedNormal:
    """round(N(mean, std^2)), clipped to 0..K-1: integers (B, *S) for reals `mean` (B, *S).

        P(k) = Phi((k + 1/2 - mean) / std) - Phi((k - 1/2 - mean) / std)

    and the first and last of the K quantization levels hold the tails.
    """

    mean: Float[Tensor, "B *S"]
    std: float
    levels: int

    def sample(self, rng: Rng, *, stream: str, step: int = 0) -> Int[Tensor, "B *S"]:
        """A draw, int64 (B, *S)."""
        eps = rng.normal(self.mean.shape[1:], stream=stream, step=step)
        noisy = self.mean.double() + self.std * eps
        return noisy.round().clamp(0, self.levels - 1).long()

    def log_prob(self, x: Integer[Tensor, "B *S"]) -> Float[Tensor, "B"]:
        """Log-probability of x (B, *S), (B,)."""
        far = torch.tensor(_FAR, dtype=torch.float64, device=x.device)
        mean = self.mean.double()
        low = torch.where(x == 0, -far, (x - 0.5 - mean) / self.std)
        high = torch.where(x == self.levels - 1, far, (x + 0.5 - mean) / self.std)
        above = low + high > 0  # mirrored, so that differences are taken in the lower tail
        low, high = torch.where(above, -high, low), torch.where(above, -low, high)
        log_high = torch.special.log_ndtr(high)
        log_p: Tensor = log_high + torch.log1p(-(torch.special.log_ndtr(low) - log_high).exp())
        return _sum(log_p).to(self.mean.dtype)


@dataclass(frozen=True)
class Bernoulli:
    """P(x_i = 1) = sigmoid(logits_i), x in {0, 1}; `logits` are (B, *S)."""

    logits: Float[Tensor, "B *S"]

    @property
    def mean(self) -> Float[Tensor, "B *S"]:
        """P(x_i = 1), (B, *S)."""
        return self.logits.sigmoid()

    @property
    def log_masses(self) -> Float[Tensor, "B *S 2"]:
        """log P(x_i = k) of both levels, up to a constant, (B, *S, 2)."""
        return F.pad(self.logits.unsqueeze(-1), (1, 0))

    def sample(self, rng: Rng, *, stream: str, step: int = 0) -> Int[Tensor, "B *S"]:
        """A draw, int64 (B, *S)."""
        return rng.bernoulli(self.logits, stream=stream, step=step)

    def log_prob(self, x: Integer[Tensor, "B *S"]) -> Float[Tensor, "B"]:
        """Log-probability of x (B, *S), sum_i x_i l_i - log(1 + exp l_i), (B,)."""
        l = self.logits.flatten(1)
        return (x.flatten(1).to(l.dtype) * l).sum(1) - F.softplus(l).sum(1)


@dataclass(frozen=True)
class Categorical:
    """P(x_i = k) = softmax(logits_i)_k, x in 0..K-1; `logits` are (B, *S, K)."""

    logits: Float[Tensor, "B *S K"]

    @property
    def mean(self) -> Float[Tensor, "B *S"]:
        """sum_k k P(x_i = k), (B, *S)."""
        p = self.logits.softmax(-1)
        return p @ torch.arange(p.shape[-1], device=p.device, dtype=p.dtype)

    @property
    def log_masses(self) -> Float[Tensor, "B *S K"]:
        """log P(x_i = k) of each level, up to a constant, (B, *S, K)."""
        return self.logits

    def sample(self, rng: Rng, *, stream: str, step: int = 0) -> Int[Tensor, "B *S"]:
        """A draw, int64 (B, *S)."""
        return rng.categorical(self.logits, stream=stream, step=step)

    def log_prob(self, x: Integer[Tensor, "B *S"]) -> Float[Tensor, "B"]:
        """Log-probability of x (B, *S), (B,)."""
        log_p = self.logits.log_softmax(-1)
        return _sum(log_p.gather(-1, x.long().unsqueeze(-1)).squeeze(-1))


@dataclass(frozen=True)
class DiscretizedLogistic:
    """A logistic, discretized to K quantization levels; `location`, `log_scale` are (B, *S).

        p(k) = sigmoid((v + 1/(K-1) - m)/s) - sigmoid((v - 1/(K-1) - m)/s),   v = 2k/(K-1) - 1

    and the first and last levels hold the tails. Kingma et al., 2016,
    https://arxiv.org/abs/1606.04934, section 5.2.
    """

    location: Float[Tensor, "B *S"]
    log_scale: Float[Tensor, "B *S"]
    levels: int

    @property
    def mean(self) -> Float[Tensor, "B *S"]:
        """sum_k k p(k) = sum_{k >= 1} P(x >= k), (B, *S)."""
        rate = (-self._log_scale).exp()
        total = torch.zeros_like(self.location)
        for k in range(1, self.levels):
            edge = (2 * k - 1) / (self.levels - 1) - 1
            total += ((self.location - edge) * rate).sigmoid()
        return total

    @property
    def log_masses(self) -> Float[Tensor, "B *S K"]:
        """log P(x_i = k) of each level, (B, *S, K)."""
        k = torch.arange(self.levels, device=self.location.device)
        location, log_scale = self.location.flatten(1)[..., None], self.log_scale.flatten(1)
        v = rescale_levels(k, self.levels, location.dtype).expand(1, 1, -1)
        masses = mixture_logistics.reference.log_mass(
            v, location, log_scale[..., None], self.levels
        )
        return masses.view(*self.location.shape, self.levels)

    def sample(self, rng: Rng, *, stream: str, step: int = 0) -> Int[Tensor, "B *S"]:
        """Levels, int64 (B, *S): a draw of the logistic, rounded to the nearest."""
        u = rng.uniform(self.location.shape[1:], stream=stream, step=step).to(self.location.dtype)
        v = self.location + self._log_scale.exp() * u.logit()
        top = self.levels - 1
        return ((v + 1) * (top / 2)).round().clamp(0, top).long()

    def log_prob(self, x: Integer[Tensor, "B *S"]) -> Float[Tensor, "B"]:
        """Log-probability of x (B, *S), (B,)."""
        location, log_scale = self.location.flatten(1), self.log_scale.flatten(1)
        params = torch.stack((torch.zeros_like(location), location, log_scale), 1)
        return mixture_logistics.log_prob(x.flatten(1).unsqueeze(1), params, levels=self.levels)

    @property
    def _log_scale(self) -> Tensor:
        """`log_scale`, clipped so that draws do not overflow."""
        return self.log_scale.clamp(mixture_logistics.reference.MIN_LOG_SCALE, _MAX_LOG_SCALE)


@renamed_fields(parts="factors")
@dataclass(frozen=True)
class Product:
    """Independent normals, or categories, of several shapes; z (B, Z) has their flat draws."""

    factors: tuple[Normal | Categorical, ...]

    @property
    def normals(self) -> tuple[Normal, ...]:
        """The factors that are normals: all of them, over latents."""
        return tuple(factor for factor in self.factors if isinstance(factor, Normal))

    @property
    def mean(self) -> Float[Tensor, "B Z"]:
        """The mean, (B, Z)."""
        return torch.cat([factor.mean.flatten(1) for factor in self.factors], 1)

    def sample(self, rng: Rng, *, stream: str, step: int = 0) -> Num[Tensor, "B Z"]:
        """A draw, (B, Z), differentiable in the normals; integers if all are categories."""
        draws = [
            factor.sample(rng, stream=f"{stream}{l}", step=step)
            for l, factor in enumerate(self.factors)
        ]
        return torch.cat([draw.flatten(1) for draw in draws], 1)

    def log_prob(self, x: Num[Tensor, "B Z"]) -> Float[Tensor, "B"]:
        """Log-density of x (B, Z), (B,)."""
        shapes = [factor.mean.shape[1:] for factor in self.factors]
        flat = torch.split(x, [shape.numel() for shape in shapes], 1)
        events = [z.reshape(-1, *shape) for z, shape in zip(flat, shapes, strict=True)]
        log_p = [_log_prob(f, z) for f, z in zip(self.factors, events, strict=True)]
        return torch.stack(log_p).sum(0)


def _log_prob(factor: Normal | Categorical, x: Tensor) -> Tensor:
    """log p of a factor's values, which are reals beside those of other factors."""
    return factor.log_prob(x.long() if isinstance(factor, Categorical) else x)


def kl(q: Normal, p: Normal) -> Float[Tensor, "B"]:
    """KL(q || p) in closed form, summed over S: (B,)."""
    return _sum(kl_by_unit(q, p))


def kl_by_unit(q: Normal, p: Normal) -> Float[Tensor, "B *S"]:
    """KL(q_i || p_i) of each unit, (B, *S)."""
    var_ratio = (2 * (q.log_std - p.log_std)).exp()
    gap = (q.mean - p.mean) * (-p.log_std).exp()
    return 0.5 * (var_ratio + gap.square() - 1) + p.log_std - q.log_std


def _sum(x: Tensor) -> Tensor:
    """Sum over all but the batch."""
    return x.flatten(1).sum(1) if x.ndim > 1 else x
