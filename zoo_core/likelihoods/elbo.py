"""The evidence lower bound of a latent-variable model (Kingma & Welling, 2014), and its loss.

    log p(x) >= E_q(z|x)[log p(x|z)] - KL(q(z|x) || p(z))                              (eq. 3)

Auto-Encoding Variational Bayes, https://arxiv.org/abs/1312.6114. Shapes: B batch; nats (B,).
"""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from zoo_core.capabilities import Distribution
from zoo_core.config import Range
from zoo_core.model import Batch, Loss
from zoo_core.nn.distributions import Normal, kl
from zoo_core.rng import Rng
from zoo_core.specs import LikelihoodKind

__all__ = ["ELBO", "ELBOLoss", "divergence", "elbo"]


def elbo(
    x: Tensor,
    z: Tensor,
    *,
    q: Distribution,
    prior: Distribution,
    p: Distribution,
    beta: float = 1.0,
) -> Tensor:
    """log p(x|z) - beta KL(q || prior) for one draw z of q, (B,).

    `p` is the likelihood p(x|z). At beta = 1 its mean over z is the bound.
    """
    return p.log_prob(x) - beta * divergence(q, prior, z)


def divergence(q: Distribution, prior: Distribution, z: Tensor) -> Tensor:
    """KL(q || prior), (B,): closed for normals, else log q(z) - log p(z) at a draw of q."""
    if isinstance(q, Normal) and isinstance(prior, Normal):
        return kl(q, prior)
    return q.log_prob(z) - prior.log_prob(z)


@dataclass(frozen=True)
class ELBO:
    """The bound, averaged over `samples` draws of z for each event."""

    samples: Annotated[int, Range(2, 1_000_000)] = 16
    """At least two, so that the error of each number can be told."""

    kind: ClassVar[LikelihoodKind] = LikelihoodKind("elbo", "lower")

    def __call__(
        self, model: Any, x: Tensor, cond: Tensor | None, rng: Rng
    ) -> tuple[Tensor, Tensor]:
        q, prior = model.encode(x, cond), model.prior(len(x), cond)
        draws = []
        for step in range(self.samples):
            z = q.sample(rng, stream="z", step=step)
            draws.append(elbo(x, z, q=q, prior=prior, p=model.decode(z, cond)).double())
        bound = torch.stack(draws)
        return bound.mean(0), bound.std(0) / self.samples**0.5


@dataclass(frozen=True)
class ELBOLoss:
    """Minus the bound at one draw of z, averaged over the batch; the KL term weighs `beta`."""

    beta: Annotated[float, Range(0, 1e6)] = 1.0

    def __call__(self, model: Any, batch: Batch, rng: Rng, step: int) -> Loss:
        x, cond = batch
        q, prior = model.encode(x, cond), model.prior(len(x), cond)
        z = q.sample(rng, stream="z", step=step)
        reconstruction = model.decode(z, cond).log_prob(x).mean()
        penalty = divergence(q, prior, z).mean()
        terms = {"nats": penalty - reconstruction, "kl": penalty}
        total = self.beta * penalty - reconstruction
        return Loss(total, {name: term.detach() for name, term in terms.items()})
