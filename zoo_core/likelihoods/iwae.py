"""The importance-weighted bound (Burda, Grosse & Salakhutdinov, 2016).

    log p(x) >= E[log (1/k) sum_i w_i],   w_i = p(x|z_i) p(z_i) / q(z_i|x),  z_i ~ q(z|x)   (eq. 8)

Importance Weighted Autoencoders, https://arxiv.org/abs/1509.00519. The mean is inside the
logarithm, event by event. Shapes: B batch, C draws decoded together; nats (B,).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import torch
from torch import Tensor

from zoo_core.capabilities import Distribution
from zoo_core.config import Range
from zoo_core.likelihoods.elbo import Joint, draw
from zoo_core.memory import require_memory
from zoo_core.model import Batch, Loss
from zoo_core.rng import Rng
from zoo_core.specs import LikelihoodKind

if TYPE_CHECKING:
    from zoo_core.data.dataset import Split
    from zoo_core.training.diagnosis import Diagnosis

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

    The error is the delta method's, sd(w) / (sqrt(k) mean(w)).
    """

    k: int = 0
    first: Tensor | None = None
    """Running log sum of the weights, (B,)."""
    second: Tensor | None = None
    """Running log sum of the squared weights, (B,)."""

    def add(self, log_weights: Tensor) -> None:
        """Take in a chunk (C, B)."""
        log_weights = log_weights.double()
        first, second = log_weights.logsumexp(0), (2 * log_weights).logsumexp(0)
        self.first = first if self.first is None else torch.logaddexp(self.first, first)
        self.second = second if self.second is None else torch.logaddexp(self.second, second)
        self.k += len(log_weights)

    def value(self) -> tuple[Tensor, Tensor]:
        """Log mean and its standard error, (B,) each; the error of a single weight is inf."""
        assert self.first is not None and self.second is not None
        mean = self.first - math.log(self.k)
        if self.k < 2:
            return mean, torch.full_like(mean, math.inf)
        ratio = (self.second - math.log(self.k) - 2 * mean).exp()  # E w^2 / (E w)^2
        return mean, ((ratio - 1).clamp(min=0) / (self.k - 1)).sqrt()


@dataclass(frozen=True)
class IWAE:
    """The bound from k draws of z for each event; it rises with k towards log p(x)."""

    k: Annotated[int, Range(1, 10_000_000)] = 5000
    chunk: Annotated[int, Range(1, 1_000_000)] | None = None
    """Draws decoded together; by default as many as a bounded memory holds."""

    @property
    def kind(self) -> LikelihoodKind:
        return LikelihoodKind("iwae", "lower", f"k={self.k}")

    def __call__(
        self, model: Any, x: Tensor, cond: Tensor | None, rng: Rng
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
    """Minus the bound from k draws, averaged over the batch; k = 1 is the ELBO's.

    Its gradient is that of eq. 14, sum_i w_i / (sum_j w_j) grad log w_i.
    """

    k: Annotated[int, Range(1, 100_000)] = 50

    def __call__(self, model: Any, batch: Batch, rng: Rng, step: int) -> Loss:
        x, cond = batch
        steps = range(step * self.k, (step + 1) * self.k)
        found = log_weights(model, x, cond, model.encode(x, cond), rng, steps)
        nats = -iwae(found).mean()
        terms = {"nats": nats, "elbo": -found.mean()}
        return Loss(nats, {name: term.detach() for name, term in terms.items()})

    def diagnose(self, model: Any, split: "Split") -> "Diagnosis":
        """Active units, and levels that have collapsed."""
        from zoo_core.likelihoods.collapse import diagnose

        return diagnose(model, split)


def log_weights(
    model: Any, x: Tensor, cond: Tensor | None, q: Distribution, rng: Rng, steps: range
) -> Tensor:
    """Log-weights (C, B) of the draws `steps` of q = `model.encode(x, cond)`.

    They are decoded together, unless q finds them with their likelihoods, one pass a draw.
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
    log_joint: Tensor = model.decode(z, conds).log_prob(xs) + model.prior(len(z), conds).log_prob(
        z
    )
    return log_joint.view(c, -1) - torch.stack([q.log_prob(z) for z in zs])


def _repeat(x: Tensor, times: int) -> Tensor:
    return x if times == 1 else x.repeat(times, *[1] * (x.ndim - 1))
