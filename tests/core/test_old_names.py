"""Names of before 0.2: each is found, is what the new name is, and warns with it."""

import importlib
import sys
import warnings
from dataclasses import make_dataclass

import pytest
import torch

from zoo_core import Inpainting, config
from zoo_core.catalog.capabilities import has
from zoo_core.catalog.registry import current
from zoo_core.compat import ATTRIBUTES, METHODS, MODULES, OPTIONS, renamed_arguments
from zoo_core.errors import ConfigError
from zoo_core.model import GenerativeModel
from zoo_core.plugin import LikelihoodKind, LikelihoodSpec, ModelSpec

MOVED = [
    (module, name, *(home.split(":") if ":" in home else (home, name)))
    for module, names in ATTRIBUTES.items()
    for name, home in names.items()
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


@pytest.mark.parametrize(("module", "name", "home", "new"), MOVED)
def test_an_old_attribute_is_the_new_one_and_warns(module, name, home, new):
    with pytest.warns(DeprecationWarning, match=rf"{module}\.{name} is now {home}\.{new}"):
        value = getattr(importlib.import_module(module), name)
    assert value is getattr(importlib.import_module(home), new)


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


def test_an_old_keyword_means_the_new_one():
    @renamed_arguments(old="new")
    def function(*, new):
        return new

    with pytest.warns(DeprecationWarning, match=r"function\(old=\.\.\.\) is now new="):
        assert function(old=1) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert function(new=2) == 2


def test_observed_values_are_found_under_their_old_name():
    inpainting = Inpainting(torch.ones(1, 2), torch.tensor([True, False]))
    with pytest.warns(DeprecationWarning, match=r"Inpainting\.values is now observed"):
        assert inpainting.values is inpainting.observed


def test_a_spec_takes_and_gives_its_submodels_under_their_old_name():
    names = {name: "x" for name in ("arch", "family", "density", "target", "config")}
    with pytest.warns(DeprecationWarning, match=r"parts=\.\.\.\) is now submodels="):
        spec = ModelSpec(**names, parts=(("prior", "made"),))
    assert spec.submodels == (("prior", "made"),)
    with pytest.warns(DeprecationWarning, match=r"ModelSpec\.parts is now submodels"):
        assert spec.parts == spec.submodels


def test_the_registry_gives_a_kind_by_its_old_spelling():
    with pytest.warns(DeprecationWarning, match=r"registry\.all\('health check'\) is now"):
        assert current().all("health check") is current().health_checks
