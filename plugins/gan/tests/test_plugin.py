"""The skeleton is discovered, loads and declares nothing."""

from importlib.metadata import entry_points

import pytest

from zoo_core.hookspecs import ZooHooks
from zoo_core.plugins import Plugins
from zoo_core.testing import conformance

HOOKS = [name for name in vars(ZooHooks) if name.startswith("zoo_")]

test_conformance = conformance("gan")


@pytest.fixture(scope="module")
def plugins():
    return Plugins(entry_points(group="density_zoo", name="gan"), disabled=(), strict=True)


def test_plugin_loads_with_status_ok(plugins):
    record = plugins.records["gan"]
    assert (record.status, record.dist, record.problems) == ("ok", "density-zoo-gan", [])
