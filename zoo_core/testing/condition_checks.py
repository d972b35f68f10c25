"""Checks of architectures whose option `classes` may mean several labels."""

import dataclasses
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from zoo_core import config as configs
from zoo_core import loading
from zoo_core.catalog.specs import import_target
from zoo_core.errors import ConfigError
from zoo_core.model import GenerativeModel
from zoo_core.rng import Rng
from zoo_core.spaces import Classes, Group, as_condition
from zoo_core.testing.subjects import Inapplicable, ModelSubject

__all__ = ["CONDITION_CHECKS"]

_COUNTS = (("group", 3), ("style", 2))
_NAMES = ("noto", "twemoji")
_ROWS = 4


def check_takes_two_labels(subject: ModelSubject) -> None:
    """A model of two labels is trained, sampled, scored, saved and loaded; both labels matter."""
    two = _with_two_labels(subject)
    model = two.model()
    named = Group(group=Classes(3), style=Classes(2, names=_NAMES))
    model.condition = model.condition.called_as(as_condition(named))
    _check_trains(two, model)
    with tempfile.TemporaryDirectory() as folder:
        again = loading.load(str(model.save(Path(folder) / "model")))
    by_name, by_number = {"group": 1, "style": "twemoji"}, {"group": 1, "style": 1}
    x = again.sample(2, cond=by_name)
    assert torch.equal(x, model.sample(2, cond=by_number)), "names of classes are lost in saving"
    told = _told(two, model, by_number)
    for other in ({"group": 2, "style": 1}, {"group": 1, "style": 0}):
        assert not torch.equal(_told(two, model, other), told), (
            f"the model says the same given {by_number} and given {other}"
        )


def _check_trains(subject: ModelSubject, model: GenerativeModel) -> None:
    if subject.spec.default_loss is None:
        return
    with torch.random.fork_rng(devices=[]):
        for name, player in model.train().players().items():
            loss = player.loss((subject.events(4), subject.cond(4)), Rng(0, 4), 0)
            loss.total.backward()
            assert bool(loss.total.isfinite()), f"the loss of {name} is {loss.total}"
    model.eval()


def _with_two_labels(subject: ModelSubject) -> ModelSubject:
    tiny = {**dict(subject.spec.tiny), "classes": _COUNTS}
    try:
        configs.from_dict(import_target(subject.spec.config), _config_of(subject, tiny))
    except ConfigError as error:
        raise Inapplicable("it has no option `classes` of several labels") from error
    spec = dataclasses.replace(subject.spec, tiny=tuple(tiny.items()))
    return dataclasses.replace(subject, spec=spec)


def _config_of(subject: ModelSubject, values: dict[str, object]) -> dict[str, object]:
    parts = dict(subject.spec.submodels)
    return {name: value for name, value in values.items() if name not in parts}


def _told(subject: ModelSubject, model: GenerativeModel, cond: dict[str, int]) -> Tensor:
    """What depends on the condition: scores of the same events, or samples of the same seeds."""
    if subject.scored:
        return model.log_likelihood(subject.events(_ROWS), cond=cond).nats
    return model.sample(_ROWS, cond=cond)


CONDITION_CHECKS = [check_takes_two_labels]
