"""The examples in docstrings run and print what they show."""

import doctest
from importlib import import_module
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
SOURCES = [ROOT, ROOT / "kernels", *ROOT.glob("plugins/*/src")]
PACKAGES = ("zoo_core", "zoo_kernels", *(p.name for p in ROOT.glob("plugins/*/src/zoo_*")))


def with_examples():
    """Names of the modules whose text has an example."""
    for source in SOURCES:
        for package in PACKAGES:
            for path in sorted((source / package).rglob("*.py")):
                if ">>> " in path.read_text():
                    name = path.relative_to(source).with_suffix("")
                    yield ".".join(name.parts).removesuffix(".__init__")


@pytest.mark.parametrize("name", list(with_examples()))
def test_the_examples_of_a_module_run(name):
    """`torch` is at hand in them."""
    result = doctest.testmod(
        import_module(name), extraglobs={"torch": torch}, optionflags=doctest.ELLIPSIS
    )
    assert result.failed == 0 and result.attempted > 0
