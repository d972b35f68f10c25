"""The examples of docs/guides/spaces.md say what is so."""

import doctest
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs" / "guides" / "spaces.md"


def test_the_examples_of_the_page_on_spaces_are_true():
    found = doctest.testfile(
        str(DOCS), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE
    )
    assert found.attempted > 20 and not found.failed
