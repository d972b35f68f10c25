"""The examples of docs/guides/tables.md say what is so."""

import doctest
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs" / "guides" / "tables.md"


def test_the_examples_of_the_page_on_tables_are_true(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = doctest.testfile(
        str(DOCS), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE
    )
    assert found.attempted > 15 and not found.failed
