"""Fail on names that were replaced: identifiers, options and files that must not come back.

    python tools/words.py

`words.toml` beside this file is the table of old names, each with the folder that had it and the
name that replaced it. `zoo_core/compat.py`, `tests/compat` and the changelog keep the old names.
"""

import ast
import json
import subprocess
import sys
import tokenize
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
TABLE = Path(__file__).with_suffix(".toml")
EXEMPT = ("zoo_core/compat.py", "tests/compat/")
TRAINING = {"train", "players"}
"""Tables of a recipe that hold no options of models, samplers or losses."""

Names = Mapping[str, str]


def problems(root: Path, table: Mapping[str, Any], files: list[str]) -> Iterator[str]:
    """A line for each old name in the files, which are relative to `root`."""
    for old, new in table["files"].items():
        if old in files:
            yield f"{old}: this file is now {new}"
    for name in files:
        if name.startswith(EXEMPT):
            continue
        identifiers, options = (_names(table[kind], name) for kind in ("identifiers", "options"))
        if identifiers or options:
            yield from (f"{name}:{line}" for line in _found(root / name, identifiers, options))


def _names(folders: Mapping[str, Names], name: str) -> Names:
    """The old names of every folder that a file lies in."""
    names: dict[str, str] = {}
    for folder, renamed in folders.items():
        if name.startswith(f"{folder}/"):
            names |= renamed
    return names


def _found(path: Path, identifiers: Names, options: Names) -> Iterator[str]:
    if path.suffix in (".py", ".pyi"):
        yield from _in_code(path, identifiers)
        yield from _in_fields(path, options)
    elif path.suffix == ".toml" and path.parent.name == "recipes":
        recipe = tomllib.loads(path.read_text())
        for table in (recipe, *recipe.pop("stage", ())):
            yield from _in_keys({k: v for k, v in table.items() if k not in TRAINING}, options)
    elif path.name == "zoo.json":
        yield from _in_keys(json.loads(path.read_text())["config"], options)


def _in_code(path: Path, identifiers: Names) -> Iterator[str]:
    """Identifiers in code; comments and strings are prose."""
    with tokenize.open(path) as file:
        for token in tokenize.generate_tokens(file.readline):
            if token.type == tokenize.NAME and token.string in identifiers:
                yield f"{token.start[0]}: {token.string} is now {identifiers[token.string]}"


def _in_fields(path: Path, options: Names) -> Iterator[str]:
    """Fields of classes: those of a dataclass are its options."""
    for cls in ast.walk(ast.parse(path.read_text())):
        for node in cls.body if isinstance(cls, ast.ClassDef) else ():
            if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) in options:
                old = ast.unparse(node.target)
                yield f"{node.lineno}: option {old} is now {options[old]}"


def _in_keys(tree: Any, options: Names) -> Iterator[str]:
    """Keys of a TOML or JSON tree."""
    if isinstance(tree, dict):
        yield from (f" option {key} is now {options[key]}" for key in tree if key in options)
        tree = list(tree.values())
    for value in tree if isinstance(tree, list) else ():
        yield from _in_keys(value, options)


def _tracked(root: Path) -> list[str]:
    """The files of the checkout, those not added yet included."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout
    return [name for name in listing.splitlines() if (root / name).is_file()]


if __name__ == "__main__":
    lines = list(problems(ROOT, tomllib.loads(TABLE.read_text()), _tracked(ROOT)))
    print("\n".join(lines), end="\n" if lines else "")
    sys.exit(bool(lines))
