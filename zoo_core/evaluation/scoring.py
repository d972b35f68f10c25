"""The likelihood of a split, beside the null baseline's and the truth where it is known.

Every event counts once, in the model's own precision without autocast; fewer events are rows of a
permutation that the seed fixes. Differences are paired: the error of a gap is that of the mean of
the differences event by event.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from zoo_core.catalog import components as resolve
from zoo_core.data.batches import check_fit, labelled, to_model
from zoo_core.data.dataset import Dataset
from zoo_core.data.shuffle import choose
from zoo_core.evaluation.baselines import Baseline, candidates
from zoo_core.evaluation.feature_set import Estimate
from zoo_core.likelihood import Mean
from zoo_core.likelihoods.ais import Bracketed
from zoo_core.model import GenerativeModel
from zoo_core.rng import Rng
from zoo_core.sampling import evaluating
from zoo_core.uncertainty import finite_or_null

__all__ = ["SPOT", "Scored", "score", "spot"]

_SIMULATED = 16
SPOT = 8
"""Events whose scores are recorded one by one, for a cheap check of all that a score needs."""


@dataclass(frozen=True, eq=False)
class Scored:
    """The likelihood of `rows` of a split; `nulls` holds each baseline with its paired gap."""

    method: str | None
    """None: the model's own."""
    mean: Mean
    nats: Tensor
    """(N,), float64, event by event."""
    monte_carlo: float
    """Standard error of the mean from the method's own randomness: 0 where nothing is random, as
    for exact values, infinite where that of an event is not known."""
    size: int
    nulls: list[tuple[str, str, Mean, Estimate]]
    bracket: Estimate | None
    """Of AIS: upper minus lower bound on events simulated from the model, by BDMC."""
    truth: Estimate | None
    """Mean of true log p - number, where the truth is known: KL(p || model) if that is exact."""

    def record(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "method": self.method,
            **self.mean.record(),
            "monte_carlo_std_err": finite_or_null(self.monte_carlo),
            "every_event": len(self.nats) == self.size,
            "dequantization": _dequantization(self.mean),
            "bdmc_gap": None if self.bracket is None else self.bracket.record(),
            "null": [
                {
                    "name": name,
                    "classes": classes,
                    **mean.record(),
                    **_gap_record(gap),
                }
                for name, classes, mean, gap in self.nulls
            ],
            "truth": None if self.truth is None else _gap_record(self.truth),
        }


def score(
    model: GenerativeModel,
    data: Dataset,
    *,
    split: str = "test",
    method: str | None = None,
    options: Mapping[str, Any] | None = None,
    limit: int | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    progress: bool = False,
) -> Scored:
    """Score a split, or `limit` events of it drawn by the seed, by a likelihood method."""
    check_fit(model, data)
    likelihood = resolve.likelihood(model, method, options or {})
    events = data.split(split)
    rows = choose(seed, len(events), limit)
    x, cond = labelled(model, events.batch(rows))
    with torch.autocast(model.device.type, enabled=False):
        found = model.log_likelihood(
            x, cond=cond, method=likelihood, seed=seed, batch_size=batch_size, progress=progress
        )
    truth = None if data.truth is None else data.truth(events.x[rows])
    return Scored(
        method,
        found.mean(),
        found.nats,
        float(found.std_err.square().sum().sqrt()) / len(rows),
        len(events),
        [
            _null(b, found.nats, events.x[rows], cond, seed)
            for b in candidates(data, conditional=cond is not None)
        ],
        _bracket(model, likelihood, cond, seed),
        None if truth is None else _gap(truth, found.nats),
    )


def spot(
    model: GenerativeModel, data: Dataset, *, split: str, method: Any, seed: int
) -> list[float | None]:
    """Nats of a few events, which the same weights reproduce to rounding on any machine.

    null stands for -inf.
    """
    events = data.split(split)
    x, cond = labelled(model, events.batch(choose(seed, len(events), SPOT)))
    nats = model.log_likelihood(x, cond=cond, method=method, seed=seed).nats.tolist()
    return [finite_or_null(value) for value in nats]


def _bracket(
    model: GenerativeModel, likelihood: Any, cond: Tensor | None, seed: int
) -> Estimate | None:
    if not isinstance(likelihood, Bracketed):
        return None
    cond = None if cond is None else to_model(cond[:_SIMULATED], model)
    n = _SIMULATED if cond is None else len(cond)
    with evaluating(model):
        found = likelihood.bracket(model, Rng(seed, n).to(model.device), cond)
    return Estimate(found.gap, found.gap_std_err)


def _null(
    baseline: Baseline, nats: Tensor, x: Tensor, cond: Tensor | None, seed: int
) -> tuple[str, str, Mean, Estimate]:
    found = baseline.log_prob(x, cond, seed=seed)
    average = Estimate.mean_of(found)
    mean = Mean(average.value, average.std_err, len(found), baseline.kind, x[0].numel())
    return baseline.name, "told" if cond is not None else "none", mean, _gap(nats, found)


def _gap(a: Tensor, b: Tensor) -> Estimate:
    """Mean of a - b over events, with the error of that mean."""
    return Estimate.mean_of(a.double() - b.double())


def _gap_record(gap: Estimate) -> dict[str, float | None]:
    """A gap is infinite, and null, where an event has probability zero."""
    return {f"gap{k}": v for k, v in zip(("", "_std_err"), gap.record().values(), strict=True)}


def _dequantization(mean: Mean) -> str:
    return mean.kind.detail or "stated by the kind" if mean.kind.name == "deq_bound" else "none"
