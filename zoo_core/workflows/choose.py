"""`zoo choose`: one model of each family on data of your own, by equal minutes, and what serves.

For each family the recipe is taken whose events are most like the data's and whose architecture
can be built for them: same kind of values, as many axes, the nearest size; of several, the one
with the best recorded likelihood. Its event is replaced by the data's. Each model trains for as
many CPU minutes, by calibrated steps. Early stopping is chosen on `valid`, as is the weight decay
of densities by change of variables, which divide their minutes between two trainings. The test
split is read once, at the end, beside the baselines and the codecs.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch

from zoo_core.building import build
from zoo_core.catalog.registry import ModelInfo, current
from zoo_core.catalog.specs import import_target
from zoo_core.data.batches import labelled
from zoo_core.data.dataset import Dataset, Split
from zoo_core.data.shuffle import cut
from zoo_core.errors import DataError, NotFiniteError, UsageError, ZooError
from zoo_core.evaluation.compare import Budget, ComparedModel, Comparison, compare, headline_scores
from zoo_core.model import GenerativeModel
from zoo_core.training.config import TrainConfig
from zoo_core.training.validation import has_likelihood
from zoo_core.uncertainty import from_json
from zoo_core.workflows.calibrated import calibrated_steps, run_stage
from zoo_core.workflows.recipe import Recipe, Stage, load_recipe

__all__ = [
    "MINUTES",
    "Choice",
    "Fitted",
    "choose_models",
    "fitting",
    "recommendations",
    "with_all_splits",
]

MINUTES = 2.0
_HELD_OUT = 0.15
_EVALUATIONS = 10
_PATIENCE = 3
_DECAYS = (0.0, 0.1)
"""Weight decays that a bijection tries: flows overfit small data."""
_AHEAD = 2.0
"""Paired standard errors by which a baseline must be ahead to be recommended."""


@dataclass(frozen=True)
class Fitted:
    """The recipe of a family that fits the data, and its model's options; or why none fits."""

    family: str
    recipe: Recipe | None = None
    options: Mapping[str, Any] | None = None
    why: str = ""


@dataclass(frozen=True, eq=False)
class Choice:
    """The families' models on the test split, and the families that have none."""

    comparison: Comparison
    trained: dict[str, str]
    """How each model was trained, by name."""
    unfit: list[Fitted]

    def record(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            **self.comparison.record(),
            "trained": self.trained,
            "unfit": {f.family: f.why for f in self.unfit},
            "recommendations": dict(recommendations(self.comparison)),
        }


def fitting(data: Dataset) -> list[Fitted]:
    """For each family, the recipe that fits the events of a data set best."""
    families: dict[str, list[ModelInfo]] = {}
    for info in current().list_models():
        own = families.setdefault(info.spec.family, [])
        if info.tag is not None and info.tag.recipe is not None:
            own.append(info)
    return [_fit(family, infos, data) for family, infos in sorted(families.items())]


def choose_models(
    data: Dataset,
    *,
    minutes: float = MINUTES,
    seed: int = 0,
    coded: int | None = None,
    n: int | None = None,
    progress: bool = False,
) -> Choice:
    """Train one model of each family that fits, and measure all on the test split.

    `minutes` are CPU minutes of training for each; `coded` and `n` are those of `compare`.
    """
    if not 0 < minutes <= 600:
        raise UsageError(f"minutes = {minutes}; give CPU minutes for each model, up to 600.")
    data = with_all_splits(data, seed)
    found = fitting(data)
    models, budgets, trained = [], {}, {}
    unfit = [f for f in found if f.recipe is None]
    for fit in found:
        if fit.recipe is None:
            continue
        try:
            model, told = _best_on_valid(fit, data, minutes, seed, progress)
        except NotFiniteError as error:
            unfit.append(Fitted(fit.family, why=f"{fit.recipe.arch} diverged: {error.message}"))
            continue
        name = fit.recipe.arch
        models.append((name, model))
        trained[name] = told
        parameters = sum(p.numel() for p in model.parameters())
        budgets[name] = Budget(parameters, data.name, 60 * minutes)
    if not models:
        raise DataError(
            f"no family has a recipe that fits {data.event}.",
            hint="; ".join(f"{f.family}: {f.why}" for f in unfit),
        )
    compared = compare(
        models, data, budgets=budgets, seed=seed, progress=progress, coded=coded, n=n
    )
    return Choice(compared, trained, unfit)


def with_all_splits(data: Dataset, seed: int) -> Dataset:
    """The data set with the splits train, valid and test; a single split is cut by the seed.

    Where only `valid` is missing, it is cut from `train`; `test` is never touched.
    """
    have = {*data.splits}
    if {"train", "valid", "test"} <= have:
        return data
    source = data.splits["train"] if "train" in have else next(iter(data.splits.values()))
    if not isinstance(source, Split) or not (len(have) == 1 or have == {"train", "test"}):
        raise DataError(
            f"data set {data.name!r} has the splits {', '.join(sorted(have))}; choices need "
            "train, valid and test.",
            hint="zoo data info DATA tells the options that make splits",
        )
    rows = cut(len(source), valid=_HELD_OUT, test=_HELD_OUT if len(have) == 1 else 0.0, seed=seed)
    parts = {name: replace(source, x=x, y=y) for name, (x, y) in _rows(source, rows)}
    return replace(data, splits={**data.splits, **parts})


def _rows(source: Split, rows: Any) -> Iterator[tuple[str, Any]]:
    return ((name, source.rows(r)) for name, r in rows)


def recommendations(c: Comparison) -> Iterator[tuple[str, str]]:
    """What serves which purpose: likelihood by kind, samples, latents, speed."""
    for kind, entries in _by_kind(c.entries).items():
        best = max(entries, key=lambda e: from_json((e.likelihood or {})["nats"], -math.inf))
        yield f"likelihood ({kind})", _or_baseline(best)
    scored = [(e, headline_scores(e).get("frechet")) for e in c.entries if e.evaluation.quality]
    drawn = [(s.value.value, e.name) for e, s in scored if s is not None]
    if drawn:
        yield "samples", f"{min(drawn)[1]}: Frechet distance {min(drawn)[0]:.4g}"
    latent = [e for e in c.entries if e.latents in ("exact", "inferred")]
    if latent:
        yield "latents", ", ".join(f"{e.name} ({e.latents})" for e in latent)
    timed = [
        (e.evaluation.speed.images_per_second, e.name) for e in c.entries if e.evaluation.speed
    ]
    if timed:
        yield "speed", f"{max(timed)[1]}: {max(timed)[0]:,.0f} samples a second"
    if c.coded is not None:
        sizes = [(m.bytes, m.name) for m in c.coded.models if m.bytes is not None]
        sizes += [(s.best, s.name) for s in c.coded.codecs if math.isfinite(s.best)]
        if sizes:
            yield "compression", f"{min(sizes)[1]}: {min(sizes)[0]:.2f} bytes an event"


def _fit(family: str, infos: Sequence[ModelInfo], data: Dataset) -> Fitted:
    """The first recipe, the likest first, whose architecture can be built for these events."""
    reasons = ["it brings no recipe"] if not infos else []
    for info in sorted(infos, key=lambda i: _distance(i, data)):
        assert info.tag is not None and info.tag.recipe is not None
        recipe = load_recipe(info.tag.recipe)
        if len(recipe.stages) > 1 or recipe.stages[0].arch is not None:
            continue
        options = _options(recipe, data)
        try:
            model = build(info.spec, options)
            if not model.event.holds(data.event):
                raise DataError(f"{info.name} has {model.event}")
            model.sample(2)
        except (ZooError, RuntimeError) as error:
            reasons.append(f"{info.spec.arch}: {getattr(error, 'message', str(error))}")
            continue
        return Fitted(family, recipe, options)
    return Fitted(family, why="; ".join(dict.fromkeys(reasons)) or "its recipes have stages")


def _options(recipe: Recipe, data: Dataset) -> dict[str, Any]:
    """The recipe's model for the data's event, without conditions."""
    spec = current().model(recipe.arch).spec
    known = {f.name for f in fields(import_target(spec.config))}
    event = {"shape": list(data.event.shape), "levels": data.event.levels, "classes": None}
    own = {k: v for k, v in recipe.model.items() if k != "columns"}
    return {**own, **{k: v for k, v in event.items() if k in known}}


def _distance(info: ModelInfo, data: Dataset) -> tuple[Any, ...]:
    """How unlike the events of a recipe are to the data's, then how good it was on its own."""
    assert info.tag is not None and info.tag.recipe is not None
    recipe = load_recipe(info.tag.recipe)
    shape = tuple(recipe.model.get("shape", (2,)))
    discrete = recipe.model.get("levels") is not None
    ratio = abs(math.log(math.prod(shape) / max(1, data.event.dims)))
    recorded = [m["nats"] for m in info.tag.metrics if isinstance(m.get("nats"), float)]
    return (
        discrete != data.event.discrete,
        len(shape) != len(data.event.shape),
        round(ratio, 3),
        -max(recorded, default=-math.inf),
        info.name,
    )


def _best_on_valid(
    fit: Fitted, data: Dataset, minutes: float, seed: int, progress: bool
) -> tuple[GenerativeModel, str]:
    """The trained model of a family; of several weight decays, the better on valid."""
    assert fit.recipe is not None and fit.options is not None
    spec, stage = current().model(fit.recipe.arch).spec, fit.recipe.stages[0]
    batch_size = min(stage.train.batch_size, len(data.split("train")))
    shared = replace(stage.train, seed=seed, batch_size=batch_size, accumulate=1)
    decays = _DECAYS if "Bijection" in spec.capabilities else (stage.train.weight_decay,)
    tried = []
    for decay in decays:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = build(spec, fit.options)
        config = replace(shared, weight_decay=decay)
        steps, best = _train(model, data, stage, config, 60 * minutes / len(decays), progress)
        tried.append((best, f"{steps} steps, weight_decay {decay:g}", model))
    _, told, model = max(tried, key=lambda t: t[0]) if len(tried) > 1 else tried[0]
    return model, told


def _train(
    model: GenerativeModel,
    data: Dataset,
    stage: Stage,
    config: TrainConfig,
    seconds: float,
    progress: bool,
) -> tuple[int, float]:
    """Train with early stopping; the steps, and the mean log p of valid (0 without one)."""
    steps = calibrated_steps(model, data, stage, config, seconds)
    scored = has_likelihood(model)
    every = max(1, steps // _EVALUATIONS) if scored else 0
    config = replace(
        config,
        steps=steps,
        warmup=min(config.warmup, steps // 4),
        eval_every=every,
        keep_best=scored,
        patience=_PATIENCE if scored else 0,
        checkpoint_every=0,
    )
    run_stage(model, data, stage, config, progress)
    if not scored:
        return steps, 0.0
    x, cond = labelled(model, data.split("valid").batch())
    return steps, model.log_likelihood(x, cond=cond, seed=config.seed).mean().nats


def _by_kind(entries: Sequence[ComparedModel]) -> dict[str, list[ComparedModel]]:
    found: dict[str, list[ComparedModel]] = {}
    for entry in entries:
        if entry.likelihood is not None and entry.likelihood["relation"] != "unrelated":
            found.setdefault(entry.likelihood["kind"], []).append(entry)
    return found


def _or_baseline(entry: ComparedModel) -> str:
    """The model, unless a baseline is ahead of it by two paired standard errors."""
    likelihood = entry.likelihood or {}
    own = f"{entry.name}: {from_json(likelihood['nats'], -math.inf):.2f} nats"
    ahead = [
        (b["gap"] / b["gap_std_err"], b)
        for b in likelihood["null"]
        if b["gap"] is not None and b["gap_std_err"] and b["gap"] < -_AHEAD * b["gap_std_err"]
    ]
    if not ahead:
        return own
    best = max((b for _, b in ahead), key=lambda b: from_json(b["nats"], -math.inf))
    return (
        f"the baseline {best['name']}: {best['nats']:.2f} nats, ahead of {own} by "
        f"{-best['gap']:.2f} +- {best['gap_std_err']:.2f}"
    )
