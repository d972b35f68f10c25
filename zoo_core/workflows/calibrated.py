"""Trainings of equal CPU time: a calibration turns seconds into steps."""

import time
from copy import deepcopy
from dataclasses import replace

from zoo_core.catalog import components as resolve
from zoo_core.data.dataset import Dataset
from zoo_core.model import GenerativeModel
from zoo_core.training.config import TrainConfig
from zoo_core.training.loop import train
from zoo_core.workflows.recipe import Stage

__all__ = ["calibrated_steps", "run_stage"]

_WARM_UP = 5
_CALIBRATION = 0.1
"""Fraction of the budget spent on measuring the time of a step."""


def calibrated_steps(
    model: GenerativeModel, data: Dataset, stage: Stage, config: TrainConfig, budget: float
) -> int:
    """How many steps of a stage take `budget` CPU seconds, measured on a copy of the model."""
    copy = deepcopy(model)

    def seconds(steps: int) -> float:
        start = time.process_time()
        run_stage(copy, data, stage, without_validation(config, steps), False)
        return time.process_time() - start

    seconds(_WARM_UP)
    first = seconds(_WARM_UP) / _WARM_UP
    steps = max(_WARM_UP, int(_CALIBRATION * budget / first))
    return max(1, int(budget / (seconds(steps) / steps)))


def without_validation(config: TrainConfig, steps: int) -> TrainConfig:
    """The config of so many steps that are not validated, stopped early or kept."""
    return replace(
        config,
        steps=steps,
        eval_every=0,
        keep_best=False,
        patience=0,
        checkpoint_every=0,
        warmup=min(config.warmup, steps // 4),
    )


def run_stage(
    model: GenerativeModel, data: Dataset, stage: Stage, config: TrainConfig, progress: bool
) -> None:
    """Train a model by the loss and the players of a stage, and another config."""
    objective = resolve.loss(model, stage.loss, stage.loss_options)
    train(model, data, config, loss=objective, players=stage.players, progress=progress)
