"""What an import costs: neither the core nor a listing imports torch or numpy."""

import ast
import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

CHECK = "; import sys; print(sorted({'torch', 'numpy', 'triton'} & sys.modules.keys()))"
LIGHT = {
    "the package": "import zoo_core",
    "the hooks and specs": "from zoo_core.plugin import hookimpl, ModelSpec, Range, Event",
    "a list": "import zoo_core; assert 'mini_ar' in zoo_core.list_models('mini*')",
    "an info": "import zoo_core; assert zoo_core.info('mini_gan').spec.family == 'miniature'",
    "a wrong name": "import zoo_core\ntry: zoo_core.load('mini_flw')\n"
    "except zoo_core.UnknownNameError: pass\nelse: raise AssertionError\nimport sys",
}


@pytest.fixture
def path(tmp_path):
    """`sys.path` of a child, with the miniature family as an installed distribution."""
    info = tmp_path / "zoo_mini-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: zoo-mini\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[density_zoo]\nmini = zoo_mini.plugin\n")
    return os.pathsep.join([str(tmp_path), *(p for p in sys.path if p)])


def run(code, path):
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path, "ZOO_PLUGINS": "mini"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("what", LIGHT)
def test_it_imports_neither_torch_nor_numpy(path, what):
    done = run(LIGHT[what] + CHECK, path)
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr
    assert done.stderr == ""


def test_the_check_above_can_fail(path):
    done = run("from zoo_core import GenerativeModel" + CHECK, path)
    assert "'torch'" in done.stdout


PUBLIC = ("zoo_core", "zoo_core.plugin")
FAMILIES = sorted(p.parent.name for p in ROOT.glob("plugins/*/src/zoo_*/__init__.pyi"))


@pytest.mark.parametrize("name", [*PUBLIC, *FAMILIES])
def test_every_public_name_resolves_and_nothing_else_is_shown(name):
    module = importlib.import_module(name)
    for public in module.__all__:
        assert getattr(module, public) is not None
    assert dir(module) == sorted(set(module.__all__))
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        module.nonsense  # noqa: B018


@pytest.mark.parametrize("name", [*PUBLIC, *FAMILIES])
def test_type_checkers_see_a_public_name_under_its_own_name(name):
    stub = Path(importlib.import_module(name).__file__).with_suffix(".pyi")
    nodes = [n for n in ast.parse(stub.read_text()).body[1:] if not declares_version(n)]
    assert {type(node) for node in nodes} == {ast.ImportFrom}
    assert all(a.name == a.asname for node in nodes for a in node.names)
    assert all(node.level == 1 for node in nodes)


def declares_version(node):
    return isinstance(node, ast.AnnAssign) and node.target.id == "__version__"


@pytest.mark.parametrize("name", FAMILIES)
def test_importing_a_family_imports_no_torch(name):
    code = f"import {name}, sys; assert not {{'torch', 'numpy'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("folder", ["plugins", "examples", "tests/miniatures/zoo_mini"])
def test_plugins_import_from_the_core_what_is_promised_and_nothing_else(folder):
    promised = {*PUBLIC, "zoo_core.testing"}
    used = {
        (str(path), node.module)
        for path in (ROOT / folder).rglob("*.py")
        if "tests" not in path.relative_to(ROOT / folder).parts
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("zoo_core")
    }
    assert {(path, module) for path, module in used if module not in promised} == set()
