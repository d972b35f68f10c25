"""How the tests of the core and of the plugins are run together: their order, processes, costs."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "tests"))


def pytest_addoption(parser):
    parser.addoption("--costs", action="store_true", help="print what the tests cost")


def pytest_configure(config):
    from budget import Costs
    from shapes import check_shapes

    check_shapes()

    if config.option.costs:
        config.pluginmanager.register(Costs(config))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Start with the longest test, so that it does not run alone at the end.

    The kit checks golden tensors of all tags at once; `test_plugin.py` of each family does so tag
    by tag, and that is enough of it for the default tests.
    """
    items.sort(key=lambda item: "under_the_interpreter" not in item.name)
    for item in items:
        if item.path.name == "test_conformance.py" and "golden" in item.name:
            item.add_marker(pytest.mark.slow)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    from together import Together

    return Together(config, log) if config.option.dist == "load" else None
