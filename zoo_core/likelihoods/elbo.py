"""The evidence lower bound of a latent-variable model (Kingma & Welling, 2014), and its loss.

    log p(x) >= E_q(z|x)[log p(x|z)] - KL(q(z|x) || p(z))                              (eq. 3)

Auto-Encoding Variational Bayes, https://arxiv.org/abs/1312.6114. Shapes: B batch; nats (B,).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import torch
from torch import Tensor

from zoo_core.catalog.capabilities import Distribution, LatentVariableModel
from zoo_core.catalog.specs import LikelihoodKind
from zoo_core.compat import moved_attribute
from zoo_core.config import Range
from zoo_core.contracts import Batch, Loss
from zoo_core.likelihoods.posterior import draw
from zoo_core.nn.distributions import Normal, Product, kl
from zoo_core.nn.whole_batch import batch_mean
from zoo_core.rng import Rng

if TYPE_CHECKING:
    from zoo_core.contracts import Diagnosis
    from zoo_core.data.dataset import Split
    from zoo_core.model import GenerativeModel

__all__ = ["ELBO", "ELBOLoss", "divergence", "divergences", "elbo"]


def elbo(
    x: Tensor,
    z: Tensor,
    *,
    q: Distribution,
    prior: Distribution,
    p: Distribution,
    beta: float = 1.0,
) -> Tensor:
    """log p(x|z) - beta KL(q || prior) at a draw z of q, (B,); `p` is the likelihood p(x|z).

    At beta = 1 its mean over z is the bound.
    """
    return p.log_prob(x) - beta * divergence(q, prior, z)


def divergence(q: Distribution, prior: Distribution, z: Tensor) -> Tensor:
    """KL(q || prior), (B,): in closed form for normals, else log q(z) - log p(z) at a draw z."""
    return divergences(q, prior, z).sum(1)


def divergences(q: Distribution, prior: Distribution, z: Tensor) -> Tensor:
    """KL(q || prior) of each of L levels of latents, (B, L); L = 1 unless both are a `Product`."""
    if isinstance(q, Product) and isinstance(prior, Product):
        return torch.stack([kl(*pair) for pair in zip(q.normals, prior.normals, strict=True)], 1)
    if isinstance(q, Normal) and isinstance(prior, Normal):
        return kl(q, prior)[:, None]
    return (q.log_prob(z) - prior.log_prob(z))[:, None]


@dataclass(frozen=True)
class ELBO:
    """The bound, averaged over draws of z for each event.

    model.log_likelihood(x, method=ELBO(samples=64))
    """

    samples: Annotated[int, Range(2, 1_000_000)] = 16
    """Draws per event; at least two, so that the standard error is known."""

    kind: ClassVar[LikelihoodKind] = LikelihoodKind("elbo", "lower")

    def __call__(
        self, model: LatentVariableModel, x: Tensor, cond: Tensor | None, rng: Rng
    ) -> tuple[Tensor, Tensor]:
        q = model.encode(x, cond)
        draws = (draw(model, q, cond, rng, step=step) for step in range(self.samples))
        bound = torch.stack([elbo(x, **d._asdict()).double() for d in draws])
        return bound.mean(0), bound.std(0) / self.samples**0.5


@dataclass(frozen=True)
class ELBOLoss:
    """Minus the bound at one draw of z, averaged over the batch, with the KL term times `beta`.

    The logged terms are those of beta = 1: `nats` is minus the bound, `kl` is its KL term, and
    `kl_l` that of level l of the latents.
    """

    beta: Annotated[float, Range(0, 1e6)] = 1.0
    warmup: Annotated[int, Range(0, 1 << 31)] = 0
    """Steps over which beta rises linearly from 0 (Sonderby et al., 2016)."""
    free_bits: Annotated[float, Range(0, 1e6)] = 0.0
    """Nats of KL per level that cost nothing (Kingma et al., 2016, eq. 15)."""

    def __call__(self, model: LatentVariableModel, batch: Batch, rng: Rng, step: int) -> Loss:
        x, cond = batch
        d = draw(model, model.encode(x, cond), cond, rng, step=step)
        reconstruction = d.p.log_prob(x).mean()
        levels = batch_mean(divergences(d.q, d.prior, d.z))  # whose clamp is of the whole batch
        beta = self.beta * min(1.0, (step + 1) / (self.warmup + 1))
        total = beta * levels.clamp(min=self.free_bits).sum() - reconstruction
        terms = {"nats": levels.sum() - reconstruction, "kl": levels.sum()}
        if len(levels) > 1:
            terms |= {f"kl_{l}": level for l, level in enumerate(levels, 1)}
        return Loss(total, {name: term.detach() for name, term in terms.items()})

    def diagnose(self, model: "GenerativeModel", split: "Split") -> "Diagnosis":
        """The number of active units, and levels of latents that have collapsed."""
        from zoo_core.likelihoods.posterior_collapse import diagnose

        return diagnose(model, split)


def __getattr__(name: str) -> Any:
    return moved_attribute(__name__, name)
