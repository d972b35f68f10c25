"""Small discrete or continuous models with a chosen set of capabilities.

Every coordinate is independent: x_i ~ N(m_i, s_i^2) of shape (2,), or one of K levels, of shape
(1, 2, 2). So every capability and log p(x) have closed forms to compare with. For discrete events
score, denoiser and generator are those of N(m, s^2) on the network's scale.

Shapes: B batch, S the event's shape, K levels.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from zoo_core.errors import NoCapabilityError
from zoo_core.model import GenerativeModel
from zoo_core.nn.distributions import Categorical, Normal
from zoo_core.rng import Rng
from zoo_core.spaces import Event

__all__ = ["Miniature", "miniature"]

_LEVELS, _SHARE = 3, 0.6
"""Quantization levels, and the fraction of the standard deviation due to the latent."""
_QUARTER = 0.99 * math.pi / 2


@dataclass(frozen=True)
class _Config:
    levels: int | None = None


class Miniature(GenerativeModel):
    """The distribution, with sampling but no capability; those are mixed in."""

    def __init__(self, levels: int | None) -> None:
        shape = (2,) if levels is None else (1, 2, 2)
        super().__init__(_Config(levels), Event(shape, levels=levels))
        self.mean = nn.Parameter(torch.linspace(-0.4, 0.6, self.event.dims).view(shape))
        self.log_std = nn.Parameter(torch.linspace(-0.5, 0.1, self.event.dims).view(shape))
        if levels is not None:
            odds = torch.linspace(-1, 1, self.event.dims * levels).sin()
            self.logits_of = nn.Parameter(odds.view(*shape, levels))

    def exact(self, x: Tensor) -> Tensor:
        """log p(x), (B,)."""
        return self._law(len(x)).log_prob(x)

    def sample_rows(self, rng: Rng, cond: Tensor | None = None) -> Tensor:
        return self._law(len(rng)).sample(rng, stream="x")

    def _law(self, batch: int) -> Normal | Categorical:
        if self.event.discrete:
            return Categorical(self.logits_of.expand(batch, *self.logits_of.shape))
        return self._normal(batch)

    def _normal(self, batch: int) -> Normal:
        return Normal(*(p.expand(batch, *p.shape) for p in (self.mean, self.log_std)))

    def _standard(self, batch: int) -> Normal:
        return Normal.standard(batch, *self.event.shape, like=self.mean)


class _Density:
    def log_prob(self: Any, x: Tensor, cond: Tensor | None = None) -> Tensor:
        return self.exact(x)


class _Energy:
    def energy(self: Any, x: Tensor, cond: Tensor | None = None) -> Tensor:
        return 0.5 - self.exact(x)


class _Conditionals:
    def order(self: Any) -> Tensor:
        return torch.arange(self.event.dims)

    def logits(self: Any, x: Tensor, cond: Tensor | None = None) -> Tensor:
        return self._law(len(x)).logits

    def init_cache(self, batch: int, cond: Tensor | None = None) -> None:
        return None

    def decode_step(self: Any, x: Tensor, i: int, cache: Any) -> tuple[Tensor, Any]:
        return self.logits(x).flatten(1, -2)[:, i], cache


class _Bijection:
    def forward_and_ladj(
        self: Any, x: Tensor, cond: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        z = (x - self.mean) * (-self.log_std).exp()
        return z, -self.log_std.sum().expand(len(x))

    def inverse_and_ladj(
        self: Any, z: Tensor, cond: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        return self.mean + z * self.log_std.exp(), self.log_std.sum().expand(len(z))


class _Prior:
    def prior(self: Any, batch: int, cond: Tensor | None = None) -> Normal:
        return self._standard(batch)


class _Encoder:
    """Not the true posterior, so bounds are strictly below log p."""

    def encode(self: Any, x: Tensor, cond: Tensor | None = None) -> Normal:
        seen = self.event.to_network(x, self.dtype)
        return Normal(0.3 * seen, self.log_std.expand_as(seen) * 0.5)


class _Decoder(_Prior):
    """x = m + s (a z + sqrt(1 - a^2) e); discrete x does not depend on z."""

    def decode(self: Any, z: Tensor, cond: Tensor | None = None) -> Normal | Categorical:
        law = self._law(len(z))
        if self.event.discrete:
            return Categorical(law.logits + 0 * z.unsqueeze(-1))
        shift, rest = _SHARE * law.log_std.exp(), math.log(1 - _SHARE**2) / 2
        return Normal(law.mean + shift * z, law.log_std + rest)


class _Generator(_Prior):
    def generate(self: Any, z: Tensor, cond: Tensor | None = None) -> Tensor:
        y = self.mean + self.log_std.exp() * z
        return (y + 1) * ((self.event.levels - 1) / 2) if self.event.discrete else y


class _Score:
    def score(self: Any, x: Tensor, cond: Tensor | None = None) -> Tensor:
        return (self.mean - x) * (-2 * self.log_std).exp()


class _Cosine:
    """alpha_t = cos(c t), sigma_t = sin(c t), with c slightly below pi / 2, so alpha_1 > 0."""

    def alpha(self, t: Tensor) -> Tensor:
        return torch.cos(_QUARTER * t)

    def sigma(self, t: Tensor) -> Tensor:
        return torch.sin(_QUARTER * t)


class _Denoiser:
    schedule = _Cosine()

    def denoise(self: Any, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        """E[x_0 | x_t] = m + alpha s^2 / (alpha^2 s^2 + sigma^2) (x_t - alpha m)."""
        a, sigma = (
            f(t).view(-1, *[1] * len(self.event.shape))
            for f in (self.schedule.alpha, self.schedule.sigma)
        )
        variance = (2 * self.log_std).exp()
        gain = a * variance / (a.square() * variance + sigma.square())
        return self.mean + gain * (x_t - a * self.mean)


_MIXINS: dict[str, type] = {
    "Density": _Density,
    "Energy": _Energy,
    "Conditionals": _Conditionals,
    "Bijection": _Bijection,
    "Encoder": _Encoder,
    "Decoder": _Decoder,
    "Generator": _Generator,
    "Score": _Score,
    "Denoiser": _Denoiser,
}
_MEANINGLESS = {True: {"Bijection"}, False: {"Conditionals"}}
"""Capabilities that discrete (True) and continuous (False) models cannot have."""


def miniature(capabilities: Iterable[str], *, discrete: bool) -> Miniature:
    """A discrete or continuous model with exactly these capabilities of the core.

    Raises `NoCapabilityError` for a capability that such a model cannot have.
    """
    names = sorted(set(capabilities))
    lacking = [n for n in names if n not in _MIXINS or n in _MEANINGLESS[discrete]]
    if lacking:
        kind = "discrete" if discrete else "continuous"
        raise NoCapabilityError(f"no {kind} miniature has {', '.join(lacking)}.")
    cls = type("Miniature", (*(_MIXINS[name] for name in names), Miniature), {})
    model: Miniature = cls(_LEVELS if discrete else None)
    return model.eval()
