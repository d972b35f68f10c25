"""Checks before the first step of a run, so that it does not fail at its end."""

import json
from collections.abc import Sequence
from pathlib import Path

from zoo_core.catalog import components as resolve
from zoo_core.data.dataset import Dataset
from zoo_core.errors import ConfigError
from zoo_core.model import GenerativeModel
from zoo_core.training.loop import check as check_stage
from zoo_core.weights import golden
from zoo_core.weights.checkpoint import check_overwritable
from zoo_core.workflows.recipe import Recipe
from zoo_core.workflows.stages import StageRun

__all__ = ["check"]


def check(
    model: GenerativeModel,
    data: Dataset,
    recipe: Recipe,
    stages: Sequence[StageRun],
    finished: Path,
    *,
    resume: bool,
) -> None:
    """Raise the errors that would stop a stage, or saving the model after the last one.

    The finished model is saved in `finished`.
    """
    _check_report(data, recipe)
    _check_overrides(recipe)
    resolve.architecture_sampler(model, {}, golden.ROWS)  # golden tensors are drawn by it
    for score in (recipe.likelihood, *recipe.scores):
        if score.method is not None or score.options:
            resolve.likelihood(model, score.method, score.options)
    check_overwritable(finished, model.spec)
    for run in stages:
        check_stage(
            run.model,
            run.preview(),
            run.stage.train,
            loss=run.loss,
            players=run.stage.players,
            parameters=run.stage.parameters,
            out=run.folder,
            resume=resume,
        )


def _check_report(data: Dataset, recipe: Recipe) -> None:
    """`report = "test"` and `scores` name a split; the default `valid` may be missing."""
    required = recipe.report != "valid" or recipe.scores
    if required and recipe.report not in data.splits:
        raise ConfigError(
            f"report = {recipe.report!r}: data set {data.name!r} has no split of that name; "
            f"splits: {', '.join(data.splits)}.",
            hint="report a split that there is, or drop report and scores",
        )


def _check_overrides(recipe: Recipe) -> None:
    """Raise unless the overrides are JSON: `zoo.json` records them."""
    try:
        json.dumps(dict(recipe.overrides))
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"overrides must be JSON values ({error}).", hint="give paths as strings"
        ) from None
