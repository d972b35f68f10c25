"""Whatever the options of a component: it is made and works, or the answer is one of ours.

Options of every architecture, loss, sampler, likelihood, data set and converter that is declared
are changed at random, one to three at a time. A few seconds by default; `make fuzz` goes on
for ten minutes, with ever new seeds (ZOO_FUZZ_SECONDS says how long).
"""

import dataclasses
import os
import random
import time
from copy import deepcopy
from typing import Literal, get_args, get_origin, get_type_hints

import pytest

from zoo_core import config as configs
from zoo_core.building import build
from zoo_core.catalog.registry import current
from zoo_core.catalog.specs import import_target
from zoo_core.errors import ZooError
from zoo_core.rng import Rng
from zoo_core.testing.subjects import ModelSubject, tiny
from zoo_core.weights.memory_guard import memory_guard

SECONDS = float(os.environ.get("ZOO_FUZZ_SECONDS", "0"))
ROUNDS = 60
"""Changes of each architecture where no time is given."""
_WEIGHTS, _TENSORS = 1 << 14, 1 << 8
_FEW = 512
"""Values of an event up to which a model is also used, not only made."""

VALUES = (
    None,
    True,
    False,
    "",
    "x",
    0,
    1,
    2,
    3,
    4,
    5,
    7,
    8,
    16,
    64,
    -1,
    10**6,
    10**30,
    0.0,
    0.5,
    1.5,
    -0.5,
    1e-12,
    1e400,
    float("nan"),
    [],
    {},
    [[]],
    [0],
    [1],
    [2],
    [4],
    [1, 1],
    [2, 2],
    [3, 5],
    [1, 2, 4],
    [1, 4, 4],
    [2, 8, 8],
    [3, 6, 4],
    [True],
    ["x"],
    [None],
    [1.5],
    [1] * 40,
    {"type": []},
    {"type": "x"},
    {"type": None},
    {"type": {}},
    {"x": 1},
    {"type": True},
)


def entries(kind):
    return current().by_kind[kind]


def architectures():
    return sorted(e.spec.arch for e in entries("model"))


def changed(draw, options, hints):
    """Options of which one to three are others: of the field's own choices, or any values."""
    options = deepcopy(options)
    for _ in range(draw.randint(1, 3)):
        place, at = _place(draw, options, hints)
        place[at] = draw.choice([*_choices(hints.get(at)), *VALUES])
    return options


def _place(draw, options, hints):
    """A table of options and the name of one; now and then a table within."""
    name = draw.choice(list({**options, **hints}) or ["x"])
    inner = options.get(name)
    if isinstance(inner, dict) and inner and draw.random() < 0.7:
        return inner, draw.choice(list(inner))
    return options, name


def _choices(hint):
    """What a `Literal` offers, and the names of what a field offers tables of."""
    if get_origin(hint) is Literal:
        return get_args(hint)
    inner = [_choices(h) for h in get_args(hint)]
    tag = getattr(hint, "type", None)
    tables = [{"type": tag}] if dataclasses.is_dataclass(hint) and isinstance(tag, str) else []
    return [*tables, *(choice for choices in inner for choice in choices)]


def hints_of(cls):
    names = {f.name for f in dataclasses.fields(cls)}
    return {k: v for k, v in get_type_hints(cls, include_extras=True).items() if k in names}


def ours(what, act):
    """What `act` gives; None if it raises a `ZooError`, which alone it may."""
    try:
        return act()
    except ZooError as error:
        assert str(error)
    except Exception as error:
        raise AssertionError(f"{what} raises {type(error).__name__}: {error}") from error
    return None


def seeds(name, share):
    """Generators of rounds: a number of fixed ones, then new ones for a share of the time."""
    end, i = time.monotonic() + SECONDS * share, 0
    while i < ROUNDS or time.monotonic() < end:
        yield random.Random(f"{name}/{i}/{time.time_ns() if i >= ROUNDS else 0}")
        i += 1


@pytest.mark.slow
@pytest.mark.parametrize("arch", architectures())
def test_any_config_of_an_architecture_makes_a_model_that_works_or_is_refused(arch):
    entry = next(e for e in entries("model") if e.spec.arch == arch)
    spec = entry.spec
    subject = ModelSubject(spec, entry.plugin, current())
    parts = {name: tiny(current().model(part).spec) for name, part in spec.submodels}
    hints = hints_of(import_target(spec.config))
    options = configs.to_dict(subject.model().config)
    for draw in seeds(arch, 0.8 / len(architectures())):
        given = changed(draw, options, hints)

        def make(given=given):
            with memory_guard(_WEIGHTS, _TENSORS, "zoo.json"):
                return build(spec, {**given, **parts})

        model = ours(f"{arch} of {given}", make)
        if model is not None and model.event.dims <= _FEW and (model.event.levels or 2) <= 64:
            use(f"{arch} of {given}", model.eval(), subject)


def use(what, model, subject):
    cond = _cond(model)
    x = ours(f"a sample of {what}", lambda: model.sample(2, cond=cond))
    if x is not None and subject.scored:
        ours(f"log p of {what}", lambda: model.log_likelihood(x, cond=cond))


def _cond(model):
    condition = model.condition
    if condition.kind == "classes":
        return 0
    rows = Rng(0, 1)
    return None if condition.kind == "none" else rows.normal(condition.shape, stream="x")[0]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["loss", "sampler", "likelihood", "dataset", "converter"])
def test_any_options_of_a_component_are_taken_or_refused(kind):
    for entry in entries(kind):
        cls = import_target(entry.spec.target)
        hints = hints_of(cls)
        for draw in seeds(entry.spec.name, 0.02 / len(entries(kind))):
            given = changed(draw, {}, hints)
            ours(f"{entry.spec.name} of {given}", lambda: configs.from_dict(cls, given))  # noqa: B023


@pytest.mark.parametrize("arch", architectures())
@pytest.mark.parametrize("value", [[], {"type": []}, {"type": {}}])
def test_empty_lists_and_types_that_are_no_names_are_refused_in_our_words(arch, value):
    entry = next(e for e in entries("model") if e.spec.arch == arch)
    spec = entry.spec
    options = configs.to_dict(ModelSubject(spec, entry.plugin, current()).model().config)
    parts = {name: tiny(current().model(part).spec) for name, part in spec.submodels}
    for name in options:
        ours(
            f"{arch} of {name} = {value}",
            lambda: build(spec, {**options, name: value, **parts}),  # noqa: B023
        )
