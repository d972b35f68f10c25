"""The library logs and warns as any library does; only the command prints."""

import ast
import logging
import sys
from pathlib import Path

import pytest

import zoo_core
from zoo_core.cli.messages import on_stderr
from zoo_core.errors import warn

CORE = Path(zoo_core.__file__).parent
PLUGINS = CORE.parent / "plugins"
STREAMS = {"print", "sys.stderr.write", "sys.stdout.write", "tqdm.write", "bar.write"}


def _library(tree):
    """The statements of a module, without what runs as `python -m`."""
    for node in tree.body:
        main = isinstance(node, ast.FunctionDef) and node.name == "main"
        if not main and "__main__" not in ast.unparse(node).partition("\n")[0]:
            yield from ast.walk(node)


def test_only_the_command_prints():
    files = [p for p in CORE.rglob("*.py") if p.relative_to(CORE).parts[0] != "cli"]
    printing = [
        f"{path}:{node.lineno}"
        for path in [*files, *PLUGINS.glob("*/src/**/*.py")]
        for node in _library(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in STREAMS
    ]
    assert printing == []


@pytest.fixture
def log():
    return logging.getLogger("zoo_core.a_module")


def test_the_command_prints_what_the_library_logs(log, capsys):
    with on_stderr():
        log.info("step %d", 3)
        log.warning("\x1b[31mred")
        warn("a warning")
    log.info("too late")
    assert capsys.readouterr().err.splitlines() == [
        "zoo: step 3",
        r"zoo: \x1b[31mred",
        "zoo: warning: a warning",
    ]


def test_a_quiet_command_prints_no_information(log, capsys):
    with on_stderr(quiet=lambda: True):
        log.info("step 3")
        log.warning("it diverges")
    assert capsys.readouterr().err == "zoo: it diverges\n"


def test_the_command_leaves_the_users_logging_as_it_was(log):
    core = logging.getLogger("zoo_core")
    before = (core.level, list(core.handlers))
    with on_stderr():
        assert log.isEnabledFor(logging.INFO)
    assert (core.level, list(core.handlers)) == before


def test_a_progress_bar_is_not_torn_by_a_line(log, capsys):
    from tqdm import tqdm

    with on_stderr(), tqdm(total=2, file=sys.stderr, disable=False) as bar:
        bar.update()
        log.info("half way")
    lines = capsys.readouterr().err.replace("\r", "\n").splitlines()
    assert "zoo: half way" in lines
