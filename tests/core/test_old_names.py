"""Names of before 0.2: each is found, is what the new name is, and warns with it."""

import importlib
import sys
import warnings

import pytest

from zoo_core.compat import ATTRIBUTES, MODULES

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
