"""Log-likelihoods that say what kind they are, and the driver that computes them in batches.

Values are nats per event. `bits_per_dim = -nats / (D ln 2)`; discrete probabilities need no
offset, so 0 bits is a perfect model of integer data (protocol: Theis et al., 2016).

-inf nats are a value: of an event that has probability zero. Their mean is -inf with an unknown
error; in JSON it is null, and `impossible` counts the events. NaN and +inf are errors.
Standard errors that are not known are infinite (`zoo_core.uncertainty`).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from tqdm import tqdm

from zoo_core.catalog.specs import LikelihoodKind
from zoo_core.contracts import Likelihood, Scores
from zoo_core.data.batches import to_model
from zoo_core.finite import check_nats
from zoo_core.rng import Rng
from zoo_core.sampling import batches, evaluating
from zoo_core.spaces import Event
from zoo_core.uncertainty import UNKNOWN, finite_or_null, mean_error, plus_minus

if TYPE_CHECKING:
    from zoo_core.model import GenerativeModel

__all__ = ["LogLikelihood", "Mean", "log_likelihood", "log_mean_exp"]


@dataclass(frozen=True)
class Mean:
    """The mean of n log-likelihoods, with the standard error of that mean.

    `std_err` is infinite where it is not known: of a single event, or if one has probability zero.
    """

    nats: float
    std_err: float
    n: int
    kind: LikelihoodKind
    dims: int
    impossible: int = 0
    """How many of the events have probability zero; if any has, `nats` is -inf."""

    @property
    def bits_per_dim(self) -> float:
        return -self.nats / (self.dims * math.log(2))

    @property
    def bits_per_dim_std_err(self) -> float:
        return self.std_err / (self.dims * math.log(2))

    def record(self) -> dict[str, Any]:
        """The JSON form: null is an unknown error, and nats of -inf, beside `impossible`."""
        numbers = {
            "nats": self.nats,
            "std_err": self.std_err,
            "bits_per_dim": self.bits_per_dim,
            "bits_per_dim_std_err": self.bits_per_dim_std_err,
        }
        return {
            "kind": str(self.kind),
            "relation": self.kind.relation,
            "n": self.n,
            **finite_or_null(numbers),
            **({"impossible": self.impossible} if self.impossible else {}),
        }

    def __str__(self) -> str:
        return (
            f"log p {self.kind.sign} {self.nats:.3f} {plus_minus(self.std_err)} nats "
            f"(bits/dim {self.kind.bits_sign} {self.bits_per_dim:.4f}) [{self.kind}, n={self.n}]"
        )


@dataclass(frozen=True)
class LogLikelihood:
    """Per-event log-likelihoods (B,) in nats, their kind, and their own standard errors (B,).

    `std_err` is the error of each number itself (Monte Carlo): 0 where nothing is random, as for
    exact values, and infinite where it is not known. Where the method says so, `terms` (B,) each
    are nats that add up to `nats`, and `evaluations` (B,) counts the calls of the network.
    """

    nats: Tensor
    kind: LikelihoodKind
    std_err: Tensor
    event: Event
    terms: Mapping[str, Tensor] = field(default_factory=dict)
    evaluations: Tensor | None = None

    def bits_per_dim(self, term: str | None = None) -> Tensor:
        """-nats / (D ln 2) of the whole or of one term, (B,)."""
        nats = self.nats if term is None else self.terms[term]
        return -nats / (self.event.dims * math.log(2))

    def mean(self) -> Mean:
        """The mean over events; its error counts the spread between events.

        A single event has no spread to tell it by, however exact its own number is.
        """
        n, nats = len(self.nats), self.nats.double()
        impossible = int((nats == -math.inf).sum())
        error = mean_error(nats)
        return Mean(float(nats.mean()), error, n, self.kind, self.event.dims, impossible)


def log_likelihood(
    model: "GenerativeModel",
    x: Tensor,
    *,
    cond: Any = None,
    method: "str | Likelihood | None" = None,
    seed: int = 0,
    batch_size: int | None = None,
    progress: bool = False,
    **options: Any,
) -> LogLikelihood:
    """Score events by a likelihood method; see `GenerativeModel.log_likelihood`."""
    from zoo_core.catalog.components import likelihood

    score = likelihood(model, method, options)
    x = model.event.check(x)
    cond = model.condition.check(cond, len(x))
    parts = []
    with (
        evaluating(model),
        tqdm(total=len(x), unit="event", disable=None if progress else True) as bar,
    ):
        for rows in batches(len(x), model.event, batch_size):
            parts.append(_score(model, score, x, cond, Rng(seed, rows)))
            bar.update(len(rows))
    nats, errors = torch.cat([p.nats for p in parts]), torch.cat([_error(p) for p in parts])
    terms = {name: torch.cat([p.terms[name] for p in parts]) for name in parts[0].terms}
    counts = [p.evaluations for p in parts if p.evaluations is not None]
    evaluations = torch.cat(counts) if counts else None
    return LogLikelihood(nats, score.kind, errors, model.event, terms, evaluations)


def _score(
    model: "GenerativeModel", score: Likelihood, x: Tensor, cond: Tensor | None, rng: Rng
) -> Scores:
    """The scores of the events that `rng.rows` names, in float64 on the CPU.

    Raises `NotFiniteError` if one is NaN or +inf.
    """
    x = to_model(x[rng.rows], model)
    cond = None if cond is None else to_model(cond[rng.rows], model)
    found = score(model, x, cond, rng.to(model.device))
    if not isinstance(found, Scores):
        found = Scores(*found) if isinstance(found, tuple) else Scores(found)
    check_nats(found.nats, "log p")
    return Scores(
        found.nats.double().cpu(),
        None if found.std_err is None else found.std_err.double().cpu(),
        {name: term.double().cpu() for name, term in found.terms.items()},
        None if found.evaluations is None else found.evaluations.cpu(),
    )


def _error(found: Scores) -> Tensor:
    """NaN, which is what formulas give beside -inf nats, is no error that is known."""
    if found.std_err is None:
        return torch.zeros_like(found.nats)
    return found.std_err.nan_to_num(nan=UNKNOWN, posinf=UNKNOWN)


def log_mean_exp(x: Tensor, dim: int) -> Tensor:
    """log (1/k) sum_k exp x_k along `dim`."""
    return x.logsumexp(dim) - math.log(x.shape[dim])
