"""The likelihood of a split, beside those of the baselines and the true one if it is known.

A score that is unrelated to log p stands alone: it is compared with neither.

Every event is scored once, in the model's own precision without autocast; a limited number of
events are drawn by the seed. Differences are paired: the error of a gap is that of the mean of
the differences per event. Likelihoods of a table are in the units of its file.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from zoo_core.catalog import components as resolve
from zoo_core.data.batches import check_fit, cond_to_model, labelled, read
from zoo_core.data.dataset import Dataset, Split, log_det
from zoo_core.data.shuffle import choose
from zoo_core.evaluation.baselines import Baseline, fitted_baselines, tells
from zoo_core.evaluation.codecs import CodecRate, codec_rates, has_codecs
from zoo_core.evaluation.feature_set import Estimate
from zoo_core.likelihood import Mean
from zoo_core.likelihoods.ais import Bracketed
from zoo_core.model import GenerativeModel
from zoo_core.modes import evaluating
from zoo_core.rng import Rng
from zoo_core.uncertainty import finite_or_null

__all__ = ["SPOT", "SplitLikelihood", "score", "spot"]

_SIMULATED = 16
SPOT = 8
"""Number of events whose nats are recorded one by one, for a cheap check of the weights."""


@dataclass(frozen=True, eq=False)
class SplitLikelihood:
    """The likelihood of N events of a split, beside those of the baselines."""

    method: str | None
    """The method's name; None for the architecture's default."""
    mean: Mean
    nats: Tensor
    """Nats of each event, (N,), float64."""
    monte_carlo: float
    """Standard error of the mean from the method's own randomness: 0 if the method is not random,
    infinite if the error of an event is unknown."""
    size: int
    """Number of events in the split, of which `nats` may be fewer."""
    baselines: list[tuple[str, str, Mean, Estimate]]
    """For each baseline: its name, whether it is told the class ("told" or "none"), its mean, and
    the paired gap from it to the model. None are compared with a score unrelated to log p."""
    bracket: Estimate | None
    """For AIS: upper minus lower bound on events that are simulated from the model (BDMC)."""
    truth: Estimate | None
    """Mean of true log p minus `nats`, if the truth is known: KL(p || model) for exact nats."""
    columns: tuple[str, ...] = ()
    """Of a table: the columns that were scored."""
    codecs: tuple[CodecRate, ...] = ()
    """Of colour images: what image codecs need for them."""

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
                for name, classes, mean, gap in self.baselines
            ],
            "truth": None if self.truth is None else _gap_record(self.truth),
            **({"columns": list(self.columns)} if self.columns else {}),
            **({"codecs": [rate.record() for rate in self.codecs]} if self.codecs else {}),
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
) -> SplitLikelihood:
    """Score a split by a likelihood method, or `limit` of its events that the seed draws.

    `method` and `options` are those of `GenerativeModel.log_likelihood`.
    """
    check_fit(model, data)
    likelihood = resolve.likelihood(model, method, options or {})
    events = data.split(split)
    rows = choose(seed, len(events), limit)
    x, cond = labelled(model, read(data.event, events, rows))
    with torch.autocast(model.device.type, enabled=False):
        scored = model.log_likelihood(
            x, cond=cond, method=likelihood, seed=seed, batch_size=batch_size, progress=progress
        )
    scored = scored.to("cpu").in_units(log_det(events))
    comparable = scored.kind.comparable
    truth = data.truth(x) if comparable and data.truth is not None else None
    told = cond if tells(data.condition) else None
    baselines = fitted_baselines(data, conditional=told is not None) if comparable else []
    return SplitLikelihood(
        method,
        scored.mean(),
        scored.nats,
        float(scored.std_err.square().sum().sqrt()) / len(rows),
        len(events),
        [_baseline(b, scored.nats, Split(x, told, log_det(events)), seed) for b in baselines],
        _bracket(model, likelihood, cond, seed),
        None if truth is None else _gap(truth, scored.nats),
        () if data.columns is None else data.columns.names,
        tuple(codec_rates(x, data.event, seed=seed))
        if comparable and has_codecs(data.event)
        else (),
    )


def spot(
    model: GenerativeModel, data: Dataset, *, split: str, method: Any, seed: int
) -> list[float | None]:
    """Nats of a few events, which the same weights reproduce to rounding on any machine.

    None stands for -inf.
    """
    events = data.split(split)
    x, cond = labelled(model, read(data.event, events, choose(seed, len(events), SPOT)))
    scored = model.log_likelihood(x, cond=cond, method=method, seed=seed)
    nats = scored.in_units(log_det(events)).nats.tolist()
    return [finite_or_null(value) for value in nats]


def _bracket(
    model: GenerativeModel, likelihood: Any, cond: Tensor | None, seed: int
) -> Estimate | None:
    if not isinstance(likelihood, Bracketed):
        return None
    cond = None if cond is None else cond_to_model(cond[:_SIMULATED], model)
    n = _SIMULATED if cond is None else len(cond)
    with evaluating(model):
        bracket = likelihood.bracket(model, Rng(seed, n).to(model.device), cond)
    return Estimate(bracket.gap, bracket.gap_std_err)


def _baseline(
    baseline: Baseline, nats: Tensor, events: Split, seed: int
) -> tuple[str, str, Mean, Estimate]:
    own = baseline.log_prob(events.x, events.y, seed=seed) + events.log_det
    average = Estimate.mean_of(own)
    mean = Mean(average.value, average.std_err, len(own), baseline.kind, baseline.event)
    return baseline.name, "told" if events.y is not None else "none", mean, _gap(nats, own)


def _gap(a: Tensor, b: Tensor) -> Estimate:
    """Mean of a - b over events, with the error of that mean."""
    return Estimate.mean_of(a.double() - b.double())


def _gap_record(gap: Estimate) -> dict[str, float | None]:
    """The JSON form; an infinite gap, from an event of probability zero, is null."""
    return {f"gap{k}": v for k, v in zip(("", "_std_err"), gap.record().values(), strict=True)}


def _dequantization(mean: Mean) -> str:
    return mean.kind.detail or "stated by the kind" if mean.kind.name == "deq_bound" else "none"
