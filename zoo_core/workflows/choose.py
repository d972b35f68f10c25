"""`zoo choose`: one model of each family on data of your own, by equal minutes, and what serves.

For each family the recipe that fits the data best is taken (`zoo_core.workflows.fitting`). Each
model trains for as many CPU minutes, by calibrated steps. Early stopping is chosen on `valid`, as
is the weight decay of densities by change of variables, which divide their minutes between two
trainings. The test split is read once, at the end, beside the baselines and the codecs.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch

from zoo_core.building import build
from zoo_core.catalog.registry import current
from zoo_core.data.batches import labelled
from zoo_core.data.dataset import Dataset
from zoo_core.errors import DataError, NotFiniteError, UsageError
from zoo_core.evaluation.compare import Budget, Comparison, compare
from zoo_core.evaluation.recommendations import baselines, recommendations
from zoo_core.model import GenerativeModel
from zoo_core.spaces import Group
from zoo_core.training.config import TrainConfig
from zoo_core.training.validation import has_likelihood
from zoo_core.workflows.calibrated import calibrated_steps, run_stage
from zoo_core.workflows.fitting import Fitted, fitting
from zoo_core.workflows.own_data import prepared
from zoo_core.workflows.recipe import Stage

__all__ = ["MINUTES", "Choice", "choose_models"]

MINUTES = 2.0
_EVALUATIONS = 10
_PATIENCE = 3
_OF_A_TABLE = (
    "columns=numeric (--data-option) leaves the numbers, which flows, diffusion models and GANs "
    "take; bins=8 makes cells of all columns, which every family takes"
)
_DECAYS = (0.0, 0.1)
"""Weight decays that a bijection tries: flows overfit small data."""


@dataclass(frozen=True, eq=False)
class Choice:
    """The families' models on the test split, and the families that have none."""

    comparison: Comparison
    trained: dict[str, str]
    """How each model was trained, by name."""
    unfit: list[Fitted]

    def sections(self) -> dict[str, list[tuple[str, str]]]:
        """What serves which purpose, how it was trained, and which families have no model."""
        unfit = [(f.family, f.why) for f in self.unfit]
        if isinstance(self.comparison.data.event, Group):
            unfit.append(("of a table", _OF_A_TABLE))
        return {
            "What serves": [*recommendations(self.comparison)],
            "Baselines": [*baselines(self.comparison)],
            "How it was trained": [*self.trained.items()],
            **({"What does not fit": unfit} if unfit else {}),
        }

    def record(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            **self.comparison.record(),
            "trained": self.trained,
            "unfit": {f.family: f.why for f in self.unfit},
            "recommendations": dict(recommendations(self.comparison)),
        }


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
    data = prepared(data, seed)
    found = fitting(data, minutes=minutes)
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
