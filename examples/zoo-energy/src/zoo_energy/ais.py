"""log p(x) = -E(x) - log Z, with Z by annealed importance sampling (Neal, 2001).

    x_0 ~ base,  x_t ~ T_t(x_{t-1}, .) with a transition that leaves f_{b_t} invariant
    log w = sum_t (b_t - b_{t-1}) (-E(x_{t-1}) - log base(x_{t-1})),  E[w] = Z

By Jensen's inequality E[log Z^] <= log Z for the mean Z^ of w, so the result is an upper bound on
average: log p(x) <= E[-E(x) - log Z^]. (For latent-variable models AIS gives a lower bound,
since the constant it estimates is p(x) itself.) All events share one Z^, whose error does not
average out over events; `margin` standard errors of log Z^ are added for it.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from zoo_core.plugin import LikelihoodKind, LogMeanExp, Range, Rng
from zoo_energy.tempered import TemperedEnergy

__all__ = ["EnergyAIS", "log_z"]


@dataclass(frozen=True)
class EnergyAIS:
    """Upper bound on log p(x), from one estimate of Z per seed: `method=EnergyAIS(steps=200)`."""

    steps: Annotated[int, Range(1, 1_000_000)] = 200
    chains: Annotated[int, Range(2, 1_000_000)] = 512
    margin: Annotated[float, Range(0.0, 10.0)] = 2.0
    """Number of standard errors of log Z^ added to the bound."""

    @property
    def kind(self) -> LikelihoodKind:
        detail = f"steps={self.steps}, chains={self.chains}, +{self.margin:g} sd of log Z"
        return LikelihoodKind("energy_ais", "upper", detail)

    def __call__(
        self, model: TemperedEnergy, x: Tensor, cond: Tensor | None, rng: Rng
    ) -> tuple[Tensor, Tensor]:
        log_z_hat, error = log_z(model, self, rng.seed)
        nats = -model.energy(x, cond).double() - log_z_hat + self.margin * error
        return nats, error.expand(len(x))


@torch.no_grad()
def log_z(model: TemperedEnergy, options: EnergyAIS, seed: int) -> tuple[Tensor, Tensor]:
    """log Z^ and its standard error, scalars in nats."""
    rng = Rng(seed, options.chains, scope="energy_ais/").to(model.device)
    base = model.base(len(rng))
    x = base.sample(rng, stream="base")
    betas = torch.linspace(0, 1, options.steps + 1, dtype=torch.float64).tolist()
    log_w = torch.zeros(len(rng), dtype=torch.float64, device=model.device)
    for t, (before, beta) in enumerate(zip(betas, betas[1:], strict=False)):
        log_w += (beta - before) * (-model.energy(x) - base.log_prob(x)).double()
        x = model.transition(x, beta, rng, step=t)
    total = LogMeanExp()
    total.add(log_w[:, None])
    mean, error = total.value()
    return mean.squeeze(), error.squeeze()
