"""An energy of continuous vectors by a multilayer perceptron.

    E(x) = |x|^2 / (2 s^2) - f(x),  so that p(x) ~ N(x; 0, s^2 I) exp(f(x))

f grows at most linearly, so Z is finite. Shapes: B batch, D dimensions. Energies are in nats.
"""

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn

from zoo_core.plugin import Event, GenerativeModel, Normal, Range, Rng

__all__ = ["EnergyMLP", "EnergyMLPConfig"]


@dataclass(frozen=True)
class EnergyMLPConfig:
    """Dimensions, hidden layers, and scales of the base and of the Markov chain."""

    features: Annotated[int, Range(1, 4096)] = 2
    hidden: Annotated[int, Range(1, 4096)] = 128
    layers: Annotated[int, Range(1, 16)] = 3
    scale: Annotated[float, Range(0.0, 1e3, open=True)] = 2.0
    """s: standard deviation of the base, wide enough to cover the data."""
    move: Annotated[float, Range(0.0, 1e3, open=True)] = 0.02
    """Step size of the Markov chain: exact for every value, which decides how fast it mixes."""


class EnergyMLP(GenerativeModel):
    """Unnormalized density with its score and a Metropolis-adjusted Langevin chain (MALA)."""

    def __init__(self, config: EnergyMLPConfig | None = None) -> None:
        config = config or EnergyMLPConfig()
        super().__init__(config, Event((config.features,)))
        widths = [config.features, *[config.hidden] * config.layers]
        layers: list[nn.Module] = []
        for a, b in zip(widths, widths[1:], strict=False):
            layers += [nn.Linear(a, b), nn.SiLU()]
        self.f = nn.Sequential(*layers, nn.Linear(widths[-1], 1, bias=False))  # Z absorbs a bias

    def energy(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        """E(x), (B, D) -> (B,)."""
        f: Tensor = self.f(x).squeeze(-1)
        return -self._log_base(x) - f

    def score(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        """-grad E(x), (B, D); differentiable if gradients are enabled."""
        create_graph = torch.is_grad_enabled()
        with torch.enable_grad():
            x = x if x.requires_grad else x.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(self.energy(x).sum(), x, create_graph=create_graph)
        return -gradient

    def base(self, batch: int) -> Normal:
        """N(0, s^2 I)."""
        standard = Normal.standard(batch, self.config.features, like=next(self.parameters()))
        return Normal(standard.mean, standard.log_std + math.log(self.config.scale))

    @torch.no_grad()
    def transition(self, x: Tensor, beta: float, rng: Rng, *, step: int) -> Tensor:
        """A Langevin proposal with a Metropolis-Hastings correction (MALA)."""
        eps = self.config.move
        forward = self._drift(x, beta)
        y = forward + eps**0.5 * rng.normal(x.shape[1:], stream="move", step=step).to(x.dtype)
        back = self._drift(y, beta)
        log_ratio = self._log_f(y, beta) - self._log_f(x, beta)
        log_ratio += ((y - forward).square() - (x - back).square()).sum(-1) / (2 * eps)
        accepted = rng.uniform(stream="accept", step=step).log() < log_ratio
        return torch.where(accepted[:, None], y, x)

    def _drift(self, x: Tensor, beta: float) -> Tensor:
        """x + eps / 2 grad log f_beta(x), (B, D)."""
        move, scale = float(self.config.move), float(self.config.scale)
        return x + move / 2 * ((1 - beta) * -x / scale**2 + beta * self.score(x))

    def _log_f(self, x: Tensor, beta: float) -> Tensor:
        """log f_beta(x) up to a constant, (B,)."""
        return (1 - beta) * self._log_base(x) - beta * self.energy(x)

    def _log_base(self, x: Tensor) -> Tensor:
        """log N(x; 0, s^2 I) up to a constant, (B,)."""
        return -x.square().sum(-1) / (2 * float(self.config.scale) ** 2)
