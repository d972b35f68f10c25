"""The core's own plugin and the miniature family pass the kit that they are measured by."""

from importlib.metadata import EntryPoint

from zoo_core.catalog.plugins import Plugins
from zoo_core.catalog.registry import Registry
from zoo_core.testing import conformance

MINI = Registry(Plugins([EntryPoint("mini", "zoo_mini.plugin", "density_zoo")], disabled=()))

test_miniatures = conformance("mini", registry=MINI)
test_builtin = conformance("builtin", registry=MINI)
