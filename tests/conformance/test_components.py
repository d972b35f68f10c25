"""Components that plugins bring are called: each fault is caught by the check it concerns."""

import sys
from importlib.metadata import EntryPoint
from types import ModuleType

import pytest
from zoo_broken.parts import MESSAGES, SPECS

from zoo_core.catalog.plugins import Plugins
from zoo_core.catalog.registry import Registry
from zoo_core.plugin import hookimpl
from zoo_core.testing import Inconclusive, cases
from zoo_core.testing.call_checks import CALL_CHECKS
from zoo_core.testing.component_checks import COMPONENT_CHECKS

CALLING = [*COMPONENT_CHECKS, *CALL_CHECKS]


@pytest.fixture
def failures(monkeypatch):
    """Messages of the checks that a plugin fails which declares one component alone."""

    def run(name):
        hook, spec = SPECS[name]
        module = ModuleType(f"zoo_broken_{name.lower()}")
        module.ZOO_API = 1
        setattr(module, hook, hookimpl(lambda: [spec], specname=hook))
        monkeypatch.setitem(sys.modules, module.__name__, module)
        points = [
            EntryPoint("part", module.__name__, "density_zoo"),
            EntryPoint("broken", "zoo_broken.plugin", "density_zoo"),
        ]
        registry, found = Registry(Plugins(points, disabled=())), {}
        for case in cases("part", registry):
            if case.check not in CALLING:
                continue
            try:
                case.run()
            except AssertionError as error:
                found[case.name] = str(error)
        return found

    return run


@pytest.mark.parametrize("name", SPECS)
def test_a_broken_component_is_caught_and_a_sound_one_passes(failures, name):
    check, message = MESSAGES[name]
    found = failures(name)
    assert set(found) == ({check} if message else set()), found
    assert message is None or message in found[check]


def test_what_has_no_default_to_be_called_with_is_inconclusive():
    registry = Registry(Plugins([], disabled=()))
    (case,) = [c for c in cases("builtin", registry) if c.name == "check_datasets_load"]
    with pytest.raises(Inconclusive, match="'npz': nothing to give for path"):
        case.run()
