"""The reading page: its listings are excerpts of files, and their authors need few names."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "guides" / "reading.md").read_text()
LISTINGS = re.findall(r"^```python\n# (\S+)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
TEMPLATE = "zoo_core/templates/plugin/src/package"


def imported(path):
    """The names that a module imports from `zoo_core`."""
    text = (ROOT / path).read_text().replace("@Class@", "Model")
    imports = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.ImportFrom)]
    return {
        alias.name for n in imports if (n.module or "").startswith("zoo_core") for alias in n.names
    }


def in_order(lines, text):
    """The lines that do not follow the ones before them in a text."""
    rest, missing = iter(text.splitlines()), []
    for line in filter(None, lines):
        if line not in rest:
            missing.append(line)
    return missing


@pytest.mark.parametrize(("path", "listing"), LISTINGS, ids=[path for path, _ in LISTINGS])
def test_a_listing_is_an_excerpt_of_its_file(path, listing):
    assert in_order(listing.splitlines(), (ROOT / path).read_text()) == []


def test_a_model_takes_at_most_six_names_and_a_sampler_three():
    model = imported(f"{TEMPLATE}/model.py.txt")
    declaration = imported(f"{TEMPLATE}/plugin.py.txt")
    sampler = imported("examples/zoo-addons/src/zoo_addons/heun.py")
    assert (len(model), len(declaration), len(sampler)) == (4, 2, 3)  # as the page says
    for name in model | declaration | sampler:
        assert f"`{name}`" in PAGE, name


def test_a_listing_that_is_not_in_its_file_is_noticed():
    assert in_order(["b", "a"], "a\nb\nc") == ["a"]
