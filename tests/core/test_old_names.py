"""Names of before 0.2: each is found, is what the new name is, and warns with it."""

import importlib
import sys
import warnings
from dataclasses import make_dataclass

import pytest

from zoo_core import config
from zoo_core.catalog.capabilities import has
from zoo_core.compat import ATTRIBUTES, METHODS, MODULES, OPTIONS
from zoo_core.errors import ConfigError
from zoo_core.model import GenerativeModel
from zoo_core.plugin import LikelihoodKind, LikelihoodSpec, ModelSpec

MOVED = [
    (module, name, home) for module, names in ATTRIBUTES.items() for name, home in names.items()
]


@pytest.mark.parametrize(("old", "new"), MODULES.items())
def test_an_old_module_is_the_new_one_and_warns_where_it_is_imported(old, new, monkeypatch):
    monkeypatch.delitem(sys.modules, old, raising=False)
    with pytest.warns(DeprecationWarning, match=f"{old} is now {new}"):
        found = importlib.import_module(old)
    assert found is importlib.import_module(new)
    assert found.__spec__.name == new  # as reloading and pickling need it
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert importlib.import_module(old) is found  # the second import says nothing


@pytest.mark.parametrize(("module", "name", "home"), MOVED)
def test_an_old_attribute_is_the_new_one_and_warns(module, name, home):
    with pytest.warns(DeprecationWarning, match=rf"{module}\.{name} is now {home}\.{name}"):
        found = getattr(importlib.import_module(module), name)
    assert found is getattr(importlib.import_module(home), name)


@pytest.mark.parametrize("module", ATTRIBUTES)
def test_what_never_was_is_still_missing(module):
    with pytest.raises(AttributeError, match="no attribute 'nothing_such'"):
        getattr(importlib.import_module(module), "nothing_such")  # noqa: B009


@pytest.mark.parametrize(("old", "new"), OPTIONS.items())
def test_an_old_option_means_the_new_one_where_a_config_has_that(old, new):
    renamed = make_dataclass("Renamed", [(new, int)], frozen=True)
    unchanged = make_dataclass("Unchanged", [(old, int), (new, int, 0)], frozen=True)
    with pytest.warns(DeprecationWarning, match=f"option {old} is now {new}"):
        assert config.from_dict(renamed, {old: 2}) == renamed(2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert config.from_dict(unchanged, {old: 2}) == unchanged(2, 0)
        with pytest.raises(ConfigError, match=f"unknown option {old}"):
            config.from_dict(renamed, {old: 2, new: 3})  # which one is meant?


REST = {"order": lambda self: [0], "logits": lambda self, x, cond=None: x}


@pytest.mark.parametrize(("capability", "methods"), METHODS.items())
def test_a_model_with_the_old_methods_of_a_capability_has_it(capability, methods):
    old = {name: lambda self, *args, name=name: (name, args) for name in methods}
    with pytest.warns(DeprecationWarning, match=f"of Old is now {', '.join(methods.values())}"):
        model = type("Old", (GenerativeModel,), {**REST, **old})
    assert has(model.__new__(model), capability)
    for name, new in methods.items():
        assert getattr(model, new)(None, 1, 2) == (name, (1, 2))


@pytest.mark.parametrize("methods", METHODS.values())
def test_old_methods_of_a_capability_call_the_new_ones(methods):
    new = {name: lambda self, *args, name=name: (name, args) for name in methods.values()}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = type("New", (GenerativeModel,), {**REST, **new})
        alone = type("Alone", (GenerativeModel,), {next(iter(methods)): len})  # its own affair
    assert not any(hasattr(alone, name) for name in methods.values())
    for old, name in methods.items():
        with pytest.warns(DeprecationWarning, match=f"method {old} is now {name}"):
            assert getattr(model, old)(model.__new__(model), 1) == (name, (1,))


SPEC = dict.fromkeys(("arch", "family", "density", "target", "config"), "x")


def test_a_spec_may_still_name_the_default_likelihood_of_integers():
    old = {"default_likelihood": "exact", "integer_likelihood": "bound"}
    with pytest.warns(DeprecationWarning, match=r"default_likelihood=\('exact', 'bound'\)"):
        spec = ModelSpec(**SPEC, **old)
    kind = LikelihoodKind("exact", "equal")
    served = [LikelihoodSpec(name, "x", kind) for name in old.values()]  # both serve both events
    assert spec.likelihood_of(served, discrete=True) == "bound"
    assert spec.likelihood_of(served, discrete=False) == "exact"
