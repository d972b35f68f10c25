"""Log-likelihoods that state their kind, and the driver that computes them in batches.

Values are nats per event. `bits_per_dim = -nats / (D ln 2)`; discrete probabilities need no
offset, so 0 bits is a perfect model of integer data (protocol: Theis et al., 2016). Of tokens it
is nats per token (`zoo_core.catalog.units`).

An event of probability zero has -inf nats. The mean over events is then -inf with an unknown
error; in JSON it is null, and `impossible` counts the events. NaN and +inf are errors.
Unknown standard errors are infinite (`zoo_core.uncertainty`). `log_likelihood` is a method of
`GenerativeModel`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from tqdm import tqdm

from zoo_core.catalog.specs import LikelihoodKind
from zoo_core.catalog.units import UNITS, Unit, per_value
from zoo_core.contracts import Likelihood, LikelihoodResult
from zoo_core.data.batches import cond_to_model, to_model
from zoo_core.errors import UsageError
from zoo_core.finite import check_finite, check_nats
from zoo_core.modes import at_rest
from zoo_core.rng import Rng
from zoo_core.sampling import batches
from zoo_core.spaces import Event
from zoo_core.uncertainty import UNKNOWN, finite_or_null, mean_error, plus_minus

if TYPE_CHECKING:
    from zoo_core.model import GenerativeModel

__all__ = ["LogLikelihood", "Mean", "event_of", "log_likelihood", "log_mean_exp"]


@dataclass(frozen=True)
class Mean:
    """The mean of n log-likelihoods, with the standard error of that mean.

    `std_err` is infinite if it is unknown: for a single event, or if one has probability zero.
    """

    nats: float
    std_err: float
    n: int
    kind: LikelihoodKind
    event: Event
    impossible: int = 0
    """How many of the events have probability zero; if any has, `nats` is -inf."""

    @property
    def dims(self) -> int:
        return self.event.dims

    @property
    def bits_per_dim(self) -> float:
        """-nats / (D ln 2); raises `UsageError` for tokens and groups, which have none."""
        return _bits(self.event).of(self.nats, self.event.dims)

    @property
    def bits_per_dim_std_err(self) -> float:
        """The standard error of `bits_per_dim`."""
        return -_bits(self.event).of(self.std_err, self.event.dims)

    def _per_value(self) -> dict[str, float]:
        """The mean for each value of an event, in its unit, with the error; {} without a unit."""
        if self.event.unit is None:
            return {}
        unit, dims = UNITS[self.event.unit], self.event.dims
        return {
            unit.key: unit.of(self.nats, dims),
            f"{unit.key}_std_err": -unit.of(self.std_err, dims),
        }

    def record(self) -> dict[str, Any]:
        """The JSON form, with null for an unknown error and for nats of -inf."""
        numbers = {"nats": self.nats, "std_err": self.std_err, **self._per_value()}
        return {
            "kind": str(self.kind),
            "relation": self.kind.relation,
            "events": str(self.event),
            "n": self.n,
            **finite_or_null(numbers),
            **({"impossible": self.impossible} if self.impossible else {}),
        }

    def __str__(self) -> str:
        rate = per_value(self._per_value())
        each = f" ({rate[0]} {self.kind.bits_sign} {rate[1]:.4f})" if rate else ""
        return (
            f"log p {self.kind.sign} {self.nats:.3f} {plus_minus(self.std_err)} nats"
            f"{each} [{self.kind}, n={self.n}]"
        )


@dataclass(frozen=True)
class LogLikelihood:
    """Per-event log-likelihoods (B,) in nats, their kind, and their own standard errors (B,).

    `std_err` is the Monte Carlo error of each number: 0 if the method is not random, as for exact
    values, and infinite if it is unknown. Some methods give `terms`, (B,) each, which are nats
    that add up to `nats`, and `evaluations` (B,), the number of network calls.
    """

    nats: Tensor
    kind: LikelihoodKind
    std_err: Tensor
    event: Event
    terms: Mapping[str, Tensor] = field(default_factory=dict)
    evaluations: Tensor | None = None

    def to(self, device: torch.device | str) -> "LogLikelihood":
        """The same numbers on another device."""
        counts = None if self.evaluations is None else self.evaluations.to(device)
        terms = {name: term.to(device) for name, term in self.terms.items()}
        nats, errors = self.nats.to(device), self.std_err.to(device)
        return replace(self, nats=nats, std_err=errors, terms=terms, evaluations=counts)

    def in_units(self, log_det: float) -> "LogLikelihood":
        """The same events in other units, y = f(x): log p(y) = log p(x) + `log_det`.

        The constant is one of the `terms`, where there are any. A score that is unrelated to log p
        has no units, and stays.
        """
        if not log_det or not self.kind.comparable:
            return self
        own = {"units": torch.full_like(self.nats, log_det)} if self.terms else {}
        return replace(self, nats=self.nats + log_det, terms={**self.terms, **own})

    def bits_per_dim(self, term: str | None = None) -> Tensor:
        """-nats / (D ln 2), (B,), of the whole or of one of the `terms`.

        Raises `UsageError` for tokens and groups, which have no bits/dim.
        """
        nats = self.nats if term is None else self.terms[term]
        return -nats / (self.event.dims * _bits(self.event).nats)

    def mean(self) -> Mean:
        """The mean over events, with the standard error from the spread between events.

        The error for a single event is unknown, however exact its own number is.
        """
        n, nats = len(self.nats), self.nats.double()
        impossible = int((nats == -math.inf).sum())
        error = mean_error(nats)
        return Mean(float(nats.mean()), error, n, self.kind, self.event, impossible)


def log_likelihood(
    model: "GenerativeModel",
    x: Any,
    *,
    cond: Any = None,
    method: "str | Likelihood | None" = None,
    seed: int = 0,
    first_row: int = 0,
    batch_size: int | None = None,
    progress: bool = False,
    **options: Any,
) -> LogLikelihood:
    """Score events x (B, *S): nats (B,) with their kind and standard errors.

        model.log_likelihood(x, method=IWAE(k=5000)).mean().bits_per_dim

    `method` is an object or a registered name, whose fields are then `options`; by default it is
    the architecture's. Row i draws with (seed, first_row + i), whatever `batch_size` is.

    Raises `NoLikelihoodError` for implicit models, `DataError` for events that do not fit, and
    `NotFiniteError` if a value is NaN or +inf.
    """
    from zoo_core.catalog.components import likelihood

    score = likelihood(model, method, options)
    x = model.event.check_values(x)
    cond = model.condition.check(cond, len(x))
    results = []
    with (
        at_rest(model) as still,
        tqdm(total=len(x), unit="event", disable=None if progress else True) as bar,
    ):
        for rows in batches(len(x), model.event, batch_size):
            given = None if cond is None else cond[rows]
            results.append(_score(still, score, x[rows], given, Rng(seed, first_row + rows)))
            bar.update(len(rows))
    nats, errors = torch.cat([r.nats for r in results]), torch.cat([_error(r) for r in results])
    terms = {name: torch.cat([r.terms[name] for r in results]) for name in results[0].terms}
    counts = [r.evaluations for r in results if r.evaluations is not None]
    evaluations = torch.cat(counts) if counts else None
    return LogLikelihood(nats, score.kind, errors, event_of(score, model), terms, evaluations)


def event_of(score: Likelihood, model: "GenerativeModel") -> Event:
    """The event whose log p a likelihood reports: the model's, unless it names another.

    A model of latents scores the latents; bits per dimension are then those of a latent.
    """
    named = getattr(score, "event_of", None)
    event: Event = model.event if named is None else named(model)
    return event


def _score(
    model: "GenerativeModel", score: Likelihood, x: Tensor, cond: Tensor | None, rng: Rng
) -> LikelihoodResult:
    """Score events, one for each row of `rng`; the result is float64 on the model's device.

    Raises `NotFiniteError` if a value is NaN or +inf.
    """
    x = to_model(model.event.check(x), model)
    cond = cond_to_model(cond, model)
    result = score(model, x, cond, rng.to(model.device))
    if not isinstance(result, LikelihoodResult):
        result = LikelihoodResult(*(result if isinstance(result, tuple) else (result,)))
    (check_finite if model.full_support else check_nats)(result.nats, "log p")
    return LikelihoodResult(
        result.nats.double(),
        None if result.std_err is None else result.std_err.double(),
        {name: term.double() for name, term in result.terms.items()},
        result.evaluations,
    )


def _error(result: LikelihoodResult) -> Tensor:
    """Standard errors (B,); NaN, as formulas give for -inf nats, is an unknown error."""
    if result.std_err is None:
        return torch.zeros_like(result.nats)
    return result.std_err.nan_to_num(nan=UNKNOWN, posinf=UNKNOWN)


def _bits(event: Event) -> Unit:
    """The unit bits/dim; raises `UsageError` for events that have another, or none."""
    if event.unit != "dim":
        raise UsageError(
            f"{event}: there are no bits/dim of these.",
            hint="nats are of the whole event; of tokens, mean().record() has nats_per_token",
        )
    return UNITS["dim"]


def log_mean_exp(x: Tensor, dim: int) -> Tensor:
    """log (1/k) sum_k exp x_k along `dim`."""
    return x.logsumexp(dim) - math.log(x.shape[dim])
