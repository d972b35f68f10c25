"""`zoo.compare`: models of all families on one data set, by one protocol.

A likelihood is shown with its kind and its relation to log p, and is ranked only among numbers of
the same events, kind and dequantization: a bound may be below an exact value although its model is
better, and the number of a density has another unit than that of a probability.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo_core.catalog.capabilities import Conditionals, has
from zoo_core.catalog.significance import memorized
from zoo_core.catalog.specs import LikelihoodKind
from zoo_core.data.batches import cond_to_model, labelled, to_model
from zoo_core.data.dataset import Dataset
from zoo_core.data.shuffle import choose
from zoo_core.evaluation.calls import QualityAtCalls, quality_by_calls
from zoo_core.evaluation.codecs import codec_lines
from zoo_core.evaluation.coded import CodedEvents, coded_events
from zoo_core.evaluation.evaluate import Evaluation, evaluate
from zoo_core.evaluation.quality import Quality, SampleQuality
from zoo_core.model import GenerativeModel
from zoo_core.modes import evaluating
from zoo_core.uncertainty import from_json
from zoo_core.weights.checkpoint import read_metadata

__all__ = [
    "Budget",
    "ComparedModel",
    "Comparison",
    "alone",
    "budget_of",
    "compare",
    "headline_scores",
    "warnings",
]

_TOLERANCE = 0.10
_MAPS = 6


@dataclass(frozen=True)
class Budget:
    """The budget of a model: parameters, training data, seconds of training."""

    parameters: int
    data: str | None = None
    seconds: float | None = None


@dataclass(frozen=True, eq=False)
class ComparedModel:
    """A model of a comparison and its evaluation."""

    name: str
    evaluation: Evaluation
    budget: Budget
    latents: str
    """Whether events have latents: `exact`, `inferred`, `prior only` or `none`."""
    maps: Tensor | None = None
    """Bits of each value of M events, given the earlier values, (M, *S)."""
    notes: list[str] = field(default_factory=list)

    @property
    def record(self) -> dict[str, Any]:
        """The record of the evaluation."""
        return self.evaluation.record

    @property
    def likelihood(self) -> dict[str, Any] | None:
        """The likelihood in that record, if there is one."""
        likelihood: dict[str, Any] | None = self.record["likelihood"]
        return likelihood


@dataclass(frozen=True, eq=False)
class Comparison:
    """Models measured on the same split, with the same seeds and sample counts."""

    data: Dataset
    split: str
    entries: list[ComparedModel]
    seed: int
    warnings: list[str]
    shown: Tensor | None = None
    """The M events of the models' `maps`, (M, *S)."""
    coded: CodedEvents | None = None
    """Events after compression, if asked for."""
    curves: list[tuple[str, list[QualityAtCalls]]] = field(default_factory=list)
    """The quality of each model's draws with several numbers of steps, if asked for."""

    def rank(self, entry: ComparedModel) -> str:
        """The rank among likelihoods of the same events, columns and kind, e.g. `1 of 2 (=)`.

        Estimates have none, since they may be off in either direction, nor have scores that are
        unrelated to log p.
        """
        own = entry.likelihood
        if own is None or not (kind := LikelihoodKind(own["kind"], own["relation"])).ranked:
            return "-"
        peers = [e.likelihood for e in self.entries if e.likelihood]
        same = sorted((_nats(p) for p in peers if _comparable(p, own)), reverse=True)
        return f"{same.index(_nats(own)) + 1} of {len(same)} ({kind.sign})"

    def record(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "data": self.data.name,
            "split": self.split,
            "seed": self.seed,
            "warnings": self.warnings,
            **({"coded": self.coded.record()} if self.coded else {}),
            **({"quality_by_calls": self._curves()} if self.curves else {}),
            "models": [
                {
                    **e.record,
                    "name": e.name,
                    "rank": self.rank(e),
                    "codes": e.latents,
                    "notes": e.notes,
                }
                for e in self.entries
            ],
        }

    def _curves(self) -> dict[str, list[dict[str, Any]]]:
        return {name: [point.record() for point in points] for name, points in self.curves}


def compare(
    models: Sequence[tuple[str, GenerativeModel]],
    data: Dataset,
    *,
    split: str = "test",
    budgets: Mapping[str, Budget] | None = None,
    seed: int = 0,
    progress: bool = False,
    coded: int | None = None,
    steps: Sequence[int] = (),
    **options: Any,
) -> Comparison:
    """Evaluate models on a split, by the same protocol; `options` are those of `evaluate`.

        compare([("made", made), ("ddpm", ddpm)], zoo.load_dataset("digits"))

    `models` are (name, model). `budgets`, by name, let the comparison warn of unequal budgets;
    without them only the numbers of parameters are compared. `coded` events are also compressed by
    each model that can, decoded again, and shown beside the codecs in common use. With `steps`
    every model also draws so many steps by its own sampler, and quality is shown against the calls
    of the network that they took.
    """
    shown = torch.empty((0, *data.event.shape))
    entries = []
    for name, model in models:
        evaluation = evaluate(
            model,
            data,
            split=split,
            seed=seed,
            progress=progress,
            about={"name": name},
            **options,
        )
        budget = (budgets or {}).get(name)
        shown, entry = _entry(name, model, evaluation, budget, data, split, seed)
        entries.append(entry)
    found = coded_events(models, data, split=split, n=coded, seed=seed) if coded else None
    curves = _curves(models, data, split, steps, seed, options) if steps else []
    return Comparison(data, split, entries, seed, list(warnings(entries)), shown, found, curves)


def _curves(
    models: Sequence[tuple[str, GenerativeModel]],
    data: Dataset,
    split: str,
    steps: Sequence[int],
    seed: int,
    options: Mapping[str, Any],
) -> list[tuple[str, list[QualityAtCalls]]]:
    """Quality by calls of every model, all with the same protocol."""

    @cache
    def protocol(conditional: bool) -> SampleQuality:
        how: dict[str, Any] = {key: options.get(key) for key in ("n", "features", "scores")}
        return SampleQuality(data, split=split, conditional=conditional, seed=seed, **how)

    return [
        (name, quality_by_calls(model, protocol(model.condition.kind != "none"), steps, seed=seed))
        for name, model in models
    ]


def alone(
    name: str, model: GenerativeModel, evaluation: Evaluation, data: Dataset, split: str, seed: int
) -> Comparison:
    """One model that is measured already, with what a report shows of it."""
    shown, entry = _entry(name, model, evaluation, None, data, split, seed)
    return Comparison(data, split, [entry], seed, [], shown)


def _entry(
    name: str,
    model: GenerativeModel,
    evaluation: Evaluation,
    budget: Budget | None,
    data: Dataset,
    split: str,
    seed: int,
) -> tuple[Tensor, ComparedModel]:
    """The events of the model's maps, and what is known of it."""
    shown, maps = _maps(model, data, split, seed)
    flagged = memorized(evaluation.record)
    notes = [f"FLAGGED: {flagged}"] if flagged else []
    notes += codec_lines(evaluation.record["likelihood"] or {})
    budget = budget or Budget(sum(p.numel() for p in model.parameters()))
    return shown, ComparedModel(name, evaluation, budget, _latents(model), maps, notes)


def budget_of(folder: Path) -> Budget:
    """The budget of a saved model, from its zoo.json."""
    metadata = read_metadata(folder)
    recipe, training = metadata.get("recipe") or {}, metadata.get("training") or {}
    data = metadata.get("data") or {}
    return Budget(
        int(metadata.get("params") or 0),
        data.get("name") or recipe.get("name"),
        training.get("seconds"),
    )


def warnings(entries: Sequence[ComparedModel]) -> Iterator[str]:
    """Yield what makes a comparison unfair, such as budgets that differ by more than 10 %."""
    named = [(e.name, e.budget) for e in entries]
    for what, unit in (("parameters", ""), ("seconds", " s of training")):
        sizes = [(name, getattr(b, what)) for name, b in named if getattr(b, what)]
        if len(sizes) > 1:
            (small, a), (large, b) = min(sizes, key=_size), max(sizes, key=_size)
            if b > (1 + _TOLERANCE) * a:
                yield (
                    f"{what} differ by more than 10 %: {small} has {a:,.0f}{unit}, "
                    f"{large} {b:,.0f}{unit}"
                )
    data = {b.data for _, b in named if b.data}
    if len(data) > 1:
        yield f"the models were trained on different data: {', '.join(sorted(data))}"
    unknown = [name for name, b in named if b.seconds is None]
    if unknown:
        yield f"the training budget is not recorded of {', '.join(unknown)}"


def headline_scores(entry: ComparedModel) -> dict[str, Quality]:
    """The scores on the most special features, which are the first, by name."""
    quality = entry.evaluation.quality
    return {q.score: q for q in quality if q.features == quality[0].features}


def _comparable(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Whether two likelihoods are numbers of one scale; of tables, of the same columns."""
    keys = ("events", "columns", "kind", "dequantization", "relation")
    return all(a.get(key) == b.get(key) for key in keys)


def _nats(likelihood: Mapping[str, Any]) -> float:
    return from_json(likelihood["nats"], -math.inf)


def _size(named: tuple[str, float]) -> float:
    return named[1]


def _latents(model: GenerativeModel) -> str:
    if has(model, "Bijection"):
        return "exact"
    if has(model, "Encoder"):
        return "inferred"
    return "prior only" if has(model, "Decoder") or has(model, "Generator") else "none"


def _maps(
    model: GenerativeModel, data: Dataset, split: str, seed: int
) -> tuple[Tensor, Tensor | None]:
    """M events that the seed draws, and the bits of each of their values from `Conditionals`."""
    held = data.split(split)
    rows = choose(seed, len(held), _MAPS)
    x, cond = labelled(model, held.batch(rows))
    if not has(model, "Conditionals") or data.event.levels is None:
        return x, None
    assert isinstance(model, Conditionals)
    x = to_model(x, model)
    with evaluating(model):
        logits = model.logits(x, cond_to_model(cond, model))
    nats = logits.log_softmax(-1).gather(-1, x.unsqueeze(-1)).squeeze(-1)
    return x.cpu(), (-nats / torch.log(torch.tensor(2.0))).cpu()
