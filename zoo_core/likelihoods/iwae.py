"""The importance-weighted bound (Burda, Grosse & Salakhutdinov, 2016).

    log p(x) >= E[log (1/k) sum_i w_i],   w_i = p(x|z_i) p(z_i) / q(z_i|x),  z_i ~ q(z|x)   (eq. 8)

Importance Weighted Autoencoders, https://arxiv.org/abs/1509.00519. The mean is inside the
logarithm, for each event. Shapes: B batch, C draws decoded together; nats (B,).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

import torch
from torch import Tensor

from zoo_core.catalog.capabilities import Distribution, LatentVariableModel
from zoo_core.catalog.specs import LikelihoodKind
from zoo_core.config import Range
from zoo_core.contracts import Batch, Loss
from zoo_core.likelihoods.posterior import Joint, draw
from zoo_core.memory import require_memory
from zoo_core.rng import Rng
from zoo_core.uncertainty import UNKNOWN

if TYPE_CHECKING:
    from zoo_core.contracts import Diagnosis
    from zoo_core.data.dataset import Split
    from zoo_core.model import GenerativeModel

__all__ = ["IWAE", "IWAELoss", "LogMeanExp", "iwae", "log_weight", "log_weights"]

_CHUNK_VALUES = 1 << 19  # more spill from the caches


def log_weight(
    x: Tensor, z: Tensor, *, q: Distribution, prior: Distribution, p: Distribution
) -> Tensor:
    """log w = log p(x|z) + log p(z) - log q(z|x) for a draw z of q, (B,)."""
    return p.log_prob(x) + prior.log_prob(z) - q.log_prob(z)


def iwae(log_weights: Tensor) -> Tensor:
    """log (1/k) sum_i w_i from log-weights (k, B): (B,)."""
    return log_weights.logsumexp(0) - math.log(len(log_weights))


@dataclass
class LogMeanExp:
    """log (1/k) sum_i exp(w_i) of log-weights that arrive in chunks, with its standard error.

    The standard error is that of the jackknife, the square root of

        (k - 1)/k sum_i (l_i - mean l)^2,   l_i = log sum_{j != i} exp w_j

    It stays right if one weight is nearly all of the sum, where the delta method's error,
    std(w) / (sqrt(k) mean(w)), never exceeds 1. It does not include the bias: the expected value
    is a lower bound on log p that rises with k.
    """

    chunks: list[Tensor] = field(default_factory=list)
    """Log-weights (C, B), float64."""

    def add(self, log_weights: Tensor) -> None:
        """Add a chunk of log-weights (C, B)."""
        self.chunks.append(log_weights.double())

    def value(self) -> tuple[Tensor, Tensor]:
        """The log mean and its standard error, (B,) each; for a single weight it is unknown."""
        w = torch.cat(self.chunks)
        k, total = len(w), w.logsumexp(0)
        mean = total - math.log(k)
        if k < 2:
            return mean, torch.full_like(mean, UNKNOWN)
        left_out = _without_each(w, total)
        deviations = left_out - left_out.mean(0)
        return mean, ((k - 1) / k * deviations.square().sum(0)).sqrt()


def _without_each(w: Tensor, total: Tensor) -> Tensor:
    """log sum_{j != i} exp w_j of log-weights (k, B), whose log-sum is `total` (B,): (k, B)."""
    top = w.argmax(0, keepdim=True)  # 1 - its share may round to 0, so the others are summed
    others = w.scatter(0, top, -math.inf).logsumexp(0, keepdim=True)
    return (total + torch.log1p(-(w - total).exp())).scatter(0, top, others)


@dataclass(frozen=True)
class IWAE:
    """The bound from k draws of z for each event, which rises with k towards log p(x).

        model.log_likelihood(x, method=IWAE(k=64))

    The standard error (`LogMeanExp`) is unknown for k = 1.
    """

    k: Annotated[int, Range(1, 10_000_000)] = 5000
    chunk: Annotated[int, Range(1, 1_000_000)] | None = None
    """Draws that are decoded together; by default as many as a bounded memory holds."""

    @property
    def kind(self) -> LikelihoodKind:
        """A lower bound of log p, with the options that tell it from others."""
        return LikelihoodKind("iwae", "lower", f"k={self.k}")

    def __call__(
        self, model: LatentVariableModel, x: Tensor, cond: Tensor | None, rng: Rng
    ) -> tuple[Tensor, Tensor]:
        q, total = model.encode(x, cond), LogMeanExp()
        for steps in self._chunks(x):
            total.add(log_weights(model, x, cond, q, rng, steps))
        return total.value()

    def _chunks(self, x: Tensor) -> Iterator[range]:
        size = self.chunk or max(1, _CHUNK_VALUES // max(1, x.numel()))
        for start in range(0, self.k, size):
            yield range(start, min(start + size, self.k))


@dataclass(frozen=True)
class IWAELoss:
    """Minus the bound from k draws, averaged over the batch; k = 1 is the ELBO.

    Its gradient is sum_i w_i / (sum_j w_j) grad log w_i (eq. 14).
    """

    k: Annotated[int, Range(1, 100_000)] = 50

    def __call__(self, model: LatentVariableModel, batch: Batch, rng: Rng, step: int) -> Loss:
        x, cond = batch
        steps = range(step * self.k, (step + 1) * self.k)
        log_w = log_weights(model, x, cond, model.encode(x, cond), rng, steps)
        nats = -iwae(log_w).mean()
        terms = {"nats": nats, "elbo": -log_w.mean()}
        return Loss(nats, {name: term.detach() for name, term in terms.items()})

    def diagnose(self, model: "GenerativeModel", split: "Split") -> "Diagnosis":
        """The number of active units, and levels of latents that have collapsed."""
        from zoo_core.likelihoods.posterior_collapse import diagnose

        return diagnose(model, split)


def log_weights(
    model: LatentVariableModel,
    x: Tensor,
    cond: Tensor | None,
    q: Distribution,
    rng: Rng,
    steps: range,
) -> Tensor:
    """Log-weights (C, B) of the draws `steps` of q = `model.encode(x, cond)`.

    The draws are decoded together; a `Joint` posterior takes one pass for each draw.
    """
    require_memory(
        len(steps) * x.numel() * x.element_size(),
        f"{len(steps):,} draws for each of {len(x)} events",
        hint="fewer draws at a time (the option chunk) or events a batch",
    )
    if isinstance(q, Joint):
        draws = (draw(model, q, cond, rng, step=step) for step in steps)
        return torch.stack([log_weight(x, **d._asdict()) for d in draws])
    zs, c = [q.sample(rng, stream="z", step=step) for step in steps], len(steps)
    z, xs, conds = torch.cat(zs), _repeat(x, c), None if cond is None else _repeat(cond, c)
    log_prior = model.prior(len(z), conds).log_prob(z)
    log_joint = model.decode(z, conds).log_prob(xs) + log_prior
    return log_joint.view(c, -1) - torch.stack([q.log_prob(z) for z in zs])


def _repeat(x: Tensor, times: int) -> Tensor:
    return x if times == 1 else x.repeat(times, *[1] * (x.ndim - 1))
