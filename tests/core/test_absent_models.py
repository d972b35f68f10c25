"""Asking for an architecture of an official plugin says why it is not there."""

import sys
from importlib.metadata import EntryPoint
from types import ModuleType

import pytest

from zoo_core.catalog.plugins import Plugins
from zoo_core.catalog.registry import Registry
from zoo_core.errors import PluginError, UnknownNameError


def registry(module=None, disabled=()):
    points = [EntryPoint("flows", module, "density_zoo")] if module else []
    return Registry(Plugins(points, disabled=disabled))


def test_plugin_that_is_not_installed_is_named():
    with pytest.raises(PluginError, match="density-zoo-flows, which is not installed"):
        registry().model("glow")


def test_plugin_that_does_not_have_it_yet_is_named(monkeypatch):
    older = ModuleType("older_flows")
    older.ZOO_API = 1
    monkeypatch.setitem(sys.modules, "older_flows", older)
    with pytest.raises(UnknownNameError, match="planned for density-zoo-flows"):
        registry("older_flows").model("glow")


def test_plugin_that_is_disabled_can_be_enabled():
    with pytest.raises(PluginError, match="'flows': disabled") as caught:
        registry("zoo_flows.plugin", disabled=["flows"]).model("glow")
    assert caught.value.hint == "zoo plugins enable flows"


def test_plugin_that_failed_can_be_diagnosed():
    with pytest.raises(PluginError, match="'flows': failed") as caught:
        registry("zoo_flows.no_such_module").model("glow")
    assert caught.value.hint == "zoo plugins doctor flows"
