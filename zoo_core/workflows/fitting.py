"""Which recipe of each family fits the events of a data set.

It is the recipe whose events are most like the data's, of those whose architecture can be built
for them: the same kind of values, as many axes and channels, the nearest size; of several, those
that the given minutes serve, and then the one with the best recorded likelihood. Its event
is replaced by the data's, as the architecture says (`GenerativeModel.options_for`).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, get_args, get_type_hints

import torch

from zoo_core.building import build
from zoo_core.catalog import components as resolve
from zoo_core.catalog.registry import ModelInfo, current
from zoo_core.catalog.specs import import_target
from zoo_core.data.batches import labelled
from zoo_core.data.dataset import Dataset
from zoo_core.errors import ConfigError, DataError, ZooError
from zoo_core.model import GenerativeModel
from zoo_core.rng import Rng
from zoo_core.spaces import Group
from zoo_core.workflows.recipe import Recipe, load_recipe

__all__ = ["Fitted", "fitting"]

_SLOWER = 4
"""A recipe that took this many times the given minutes has had little training within them."""
_TRIED = 16
"""Events of train that a loss is computed of before a recipe is said to fit."""


@dataclass(frozen=True)
class Fitted:
    """The recipe of a family that fits the data, and its model's options; or why none fits."""

    family: str
    recipe: Recipe | None = None
    options: Mapping[str, Any] | None = None
    why: str = ""


def fitting(data: Dataset, *, minutes: float = math.inf) -> list[Fitted]:
    """For each family, the recipe that fits the events of a data set best.

    Of like recipes, one that was trained in not much more than `minutes` is preferred.
    """
    families: dict[str, list[ModelInfo]] = {}
    for info in current().list_models():
        own = families.setdefault(info.spec.family, [])
        if info.tag is not None and info.tag.recipe is not None:
            own.append(info)
    return [_fit(family, infos, data, minutes) for family, infos in sorted(families.items())]


def _fit(
    family: str, infos: Sequence[ModelInfo], data: Dataset, minutes: float = math.inf
) -> Fitted:
    """The first recipe, the likest first, whose architecture takes these events."""
    reasons: dict[str, list[str]] = {}
    for info in sorted(infos, key=lambda i: _distance(i, data, minutes)):
        recipe = _recipe(info)
        if len(recipe.stages) > 1 or recipe.stages[0].arch is not None:
            continue
        try:
            options = _options(recipe, data)
            _check(build(info.spec, options), recipe, data)
        except (ZooError, RuntimeError) as error:
            why = reasons.setdefault(getattr(error, "message", str(error)), [])
            why += [info.spec.arch] if info.spec.arch not in why else []
            continue
        return Fitted(family, recipe, options)
    told = "; ".join(f"{', '.join(archs)}: {reason}" for reason, archs in reasons.items())
    nothing = "its recipes have stages" if infos else "it brings no recipe"
    return Fitted(family, why=told or nothing)


def _recipe(info: ModelInfo) -> Recipe:
    assert info.tag is not None and info.tag.recipe is not None
    return load_recipe(info.tag.recipe)


def _options(recipe: Recipe, data: Dataset) -> dict[str, Any]:
    """The recipe's model for the data's event, without conditions."""
    spec = current().model(recipe.arch).spec
    known = {f.name for f in fields(import_target(spec.config))}
    model: type[GenerativeModel] = import_target(spec.target)
    options = {k: v for k, v in recipe.model.items() if k not in ("classes", "vector")}
    changed = {k: v for k, v in model.options_for(data.event, options).items() if k in known}
    if "levels" in changed and changed["levels"] is None and not _optional(spec.config, "levels"):
        raise ConfigError("it is for integers")
    return changed


def _optional(config: str, name: str) -> bool:
    """Whether None is a value of a Config's field."""
    return type(None) in get_args(get_type_hints(import_target(config))[name])


def _check(model: GenerativeModel, recipe: Recipe, data: Dataset) -> None:
    """Raise unless a model is of the data's events, and its losses can be computed of some."""
    if not model.event.holds(data.event):
        raise DataError(f"it is for {model.event}")
    stage, train = recipe.stages[0], data.split("train")
    batch = labelled(model, train.batch(range(min(len(train), _TRIED))))
    objective = resolve.loss(model, stage.loss, stage.loss_options)
    for player in model.make_players(objective).values():
        player.loss(batch, Rng(0, torch.arange(len(batch[0]))), 0)


def _distance(info: ModelInfo, data: Dataset, minutes: float) -> tuple[Any, ...]:
    """How unlike the events of a recipe are to the data's, then how good it was on its own."""
    metadata = (info.tag.metadata if info.tag else None) or {}
    shape, discrete = _event(_recipe(info))
    image = len(shape) == len(data.event.shape) == 3
    ratio = abs(math.log(math.prod(shape) / max(1, data.event.dims)))
    recorded = [m["nats"] for m in (info.tag.metrics if info.tag else ()) if _is_number(m)]
    seconds = (metadata.get("training") or {}).get("seconds") or math.inf
    return (
        discrete != (data.event.discrete and not isinstance(data.event, Group)),
        len(shape) != len(data.event.shape),
        image and shape[0] != data.event.shape[0],
        round(ratio, 3),
        seconds > 60 * minutes * _SLOWER,
        -max(recorded, default=-math.inf),
        info.name,
    )


def _event(recipe: Recipe) -> tuple[tuple[int, ...], bool]:
    """The shape of a recipe's events, and whether they are integers."""
    if "columns" in recipe.model:
        return (len(recipe.model["columns"]),), False
    config = import_target(current().model(recipe.arch).spec.config)
    given: dict[str, Any] = {f.name: f.default for f in fields(config)}
    given |= recipe.model
    return tuple(given.get("shape", ())), given.get("levels") is not None


def _is_number(metric: Mapping[str, Any]) -> bool:
    return isinstance(metric.get("nats"), float)
