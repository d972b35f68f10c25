"""`make lint` fails on names that were replaced, wherever they are spelt as names."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import words  # noqa: E402

TABLE = {
    "identifiers": {"pkg": {"Shelf": "LocalRepositories"}},
    "options": {"pkg": {"clip": "clip_denoised"}},
    "files": {"pkg/shelf.py": "pkg/local_repository.py"},
}
OLD = {
    "pkg/a.py": ("# Shelf\nx = Shelf()  # not 'Shelf'\n", ["2: Shelf is now LocalRepositories"]),
    "pkg/b.py": ("class C:\n    clip: bool = True\n", ["2: option clip is now clip_denoised"]),
    "pkg/recipes/c.toml": ("[model]\nclip = true", [" option clip is now clip_denoised"]),
    "pkg/recipes/s.toml": (
        "[[stage]]\n[stage.model]\nclip = true",
        [" option clip is now clip_denoised"],
    ),
    "pkg/d/zoo.json": ('{"config": {"clip": true}}', [" option clip is now clip_denoised"]),
}
LEGAL = {
    "pkg/a.py": '"""A Shelf, to clip."""\nclip = 1\n',
    "pkg/recipes/c.toml": "[train]\nclip = 1.0\n[players.generator]\nclip = 1.0",
    "pkg/recipes/s.toml": "[[stage]]\n[stage.train]\nclip = 1.0",
    "pkg/e.toml": "clip = 1",
    "other/a.py": "Shelf = 1\n",
    "tests/compat/a.py": "Shelf = 1\n",
}


def write(root, name, text):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize("name", OLD)
def test_an_old_name_is_found_with_the_new_one(tmp_path, name):
    text, found = OLD[name]
    write(tmp_path, name, text)
    assert list(words.problems(tmp_path, TABLE, [name])) == [f"{name}:{line}" for line in found]


@pytest.mark.parametrize("name", LEGAL)
def test_prose_and_other_packages_may_say_the_word(tmp_path, name):
    write(tmp_path, name, LEGAL[name])
    assert list(words.problems(tmp_path, TABLE, [name])) == []


def test_an_old_file_is_found(tmp_path):
    write(tmp_path, "pkg/shelf.py", "")
    (line,) = words.problems(tmp_path, TABLE, ["pkg/shelf.py"])
    assert line == "pkg/shelf.py: this file is now pkg/local_repository.py"
