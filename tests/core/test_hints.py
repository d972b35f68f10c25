"""Hints in Python's words have the command's words beside them, and the command uses those."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import zoo_core as zoo
from zoo_core.cli.app import run
from zoo_core.data.writers import write

ROOT = Path(__file__).parents[2]
SOURCES = [*ROOT.glob("zoo_core/**/*.py"), *ROOT.glob("plugins/*/src/**/*.py")]
PYTHON = re.compile(r"\bzoo\.\w+\(|\bmodel\.\w+\(|\.long\(\)|\b(cond|method|sampler|out)=")
"""What nobody can type at a shell."""


def raised(path: Path) -> Iterator[tuple[int, str, bool]]:
    """Line, hint and whether there is a `command`, of every call with a hint."""
    for call in ast.walk(ast.parse(path.read_text())):
        given = {k.arg: k.value for k in call.keywords} if isinstance(call, ast.Call) else {}
        if "hint" in given:
            yield call.lineno, ast.unparse(given["hint"]), "command" in given


def test_hints_that_speak_python_have_the_commands_words_beside_them():
    assert len(SOURCES) > 100
    found = [
        f"{path.relative_to(ROOT)}:{line}: {hint}"
        for path in SOURCES
        if "templates" not in path.parts
        for line, hint, answered in raised(path)
        if PYTHON.search(hint) and not answered
    ]
    assert found == []


ANSWERS = [
    ("sample mini_ar", 3, "zoo train --recipe ./my.toml trains one"),
    ("likelihood mini_ar --data digits", 3, "zoo train --recipe ./my.toml trains one"),
    ("sample ./ar --cond 3", 7, "drop --cond"),
    ("sample ./diffusion --sampler direct", 2, "--sampler NAME; zoo info MODEL lists"),
    ("likelihood ./gan --data events.npz", 2, "what can be asked for by name: --method ais"),
    ("sample ./empty", 7, "a folder written by zoo train or zoo convert has one"),
]


@pytest.mark.usefixtures("minis")
@pytest.mark.parametrize(("line", "code", "hint"), ANSWERS)
def test_the_command_answers_in_its_own_words(tmp_path, monkeypatch, capsys, line, code, hint):
    monkeypatch.chdir(tmp_path)
    for name in ("ar", "diffusion", "gan"):
        model = zoo.create(f"mini_{name}")
        model.save(name)
    write("events.npz", model.sample(4), model.event)
    (tmp_path / "empty").mkdir()
    assert run(line.split()) == code
    said = capsys.readouterr().err
    assert f"hint: {hint}" in said
    assert not PYTHON.search(said)
