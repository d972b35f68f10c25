"""Hints that name a command of ours name one that there is, with options that it has."""

import ast
import re
from pathlib import Path

import click
import pytest

from zoo_core.cli.app import root

ROOT = Path(__file__).parents[2]
COMMAND = re.compile(r"zoo ([a-z]+)((?: [^,;()]+)?)")
PROSE = re.compile(r" (lists|shows|makes|tries|tells)\b.*")
"""A sentence that goes on behind a command."""
SOURCES = [*(ROOT / "zoo_core").rglob("*.py"), *(ROOT / "plugins").glob("*/src/**/*.py")]


def texts(node):
    """The strings an expression may become, with `{}` for what is filled in."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value]
    if isinstance(node, ast.JoinedStr):
        parts = (p.value if isinstance(p, ast.Constant) else "{}" for p in node.values)
        return ["".join(map(str, parts))]
    inner = (ast.IfExp, ast.BoolOp, ast.BinOp)
    if not isinstance(node, inner):
        return []
    return [text for part in ast.iter_child_nodes(node) for text in texts(part)]


def hints():
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.keyword) and node.arg == "hint":
                for text in texts(node.value):
                    for verb, rest in COMMAND.findall(PROSE.sub("", text)):
                        yield path.relative_to(ROOT).as_posix(), text, verb, rest.split()


FOUND = sorted({(path, text, verb, tuple(rest)) for path, text, verb, rest in hints()})


def test_hints_are_found():
    assert len(FOUND) > 20


@pytest.mark.parametrize(("path", "text", "verb", "rest"), FOUND)
def test_a_command_in_a_hint_exists_with_its_options(path, text, verb, rest):
    ctx = click.Context(root)
    command = root.get_command(ctx, verb)
    assert command is not None, f"{path}: {text!r} names no verb of zoo"
    if isinstance(command, click.Group) and rest and "{" not in rest[0]:
        command = command.get_command(ctx, rest[0])
        assert command is not None, f"{path}: {text!r}"
    known = {o for p in command.params for o in (*p.opts, *p.secondary_opts)}
    assert {o.split("=")[0] for o in rest if o.startswith("--")} <= known, f"{path}: {text!r}"
