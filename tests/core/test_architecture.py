"""Rules of the layout: who imports whom, what is documented, what the wheels hold."""

import ast
import json
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from importlib.metadata import entry_points
from pathlib import Path

import grimp
import pytest
from setuptools import find_packages

from zoo_core.catalog.hookspecs import ZooHooks

ROOT = Path(__file__).parents[2]
KERNELS = ROOT / "kernels" / "zoo_kernels"
PLUGINS = sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))
FAMILIES = {f"zoo_{path.name}" for path in PLUGINS}
HEAVY = {"torch", "numpy", "scipy", "PIL", "huggingface_hub", "accelerate", "safetensors"}
IMPORT_CONTRACT = "from importlinter.cli import lint_imports_command as run; run()"


def modules(folder):
    """Every module below a folder: its path and the top-level packages it imports anywhere."""
    for path in sorted(folder.rglob("*.py")):
        tree = ast.parse(path.read_text())
        plain = [a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names]
        froms = [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.level == 0]
        names = plain + [str(n.module) for n in froms]
        yield path, {name.partition(".")[0] for name in names}


def starters(path):
    """Names in a module by which one starts a process."""
    modules = r"subprocess|multiprocessing|pty|webbrowser|torch\.multiprocessing"
    calls = r"os\.(system|popen|fork\w*|exec\w+|spawn\w+|posix_spawn\w*|startfile)"
    pools = (
        r"ProcessPoolExecutor|create_subprocess_\w+|asyncio\.subprocess|torch\.distributed\.run"
    )
    start = re.compile(rf"({modules})(\.\w+)*|{calls}|(.*\.)?({pools})")
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{a.name}" for a in node.names]
        elif isinstance(node, ast.Attribute):
            names = [ast.unparse(node)]
        yield from (name for name in names if start.fullmatch(name))


def tracked():
    """Files under version control, or that would be; skipped in an unpacked sdist."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"needs a git checkout: {done.stderr.strip()}")
    return [ROOT / line for line in done.stdout.splitlines() if (ROOT / line).is_file()]


def imported_in_a_child(statement):
    """Top-level modules that a fresh interpreter holds after `statement`."""
    code = f"{statement}\nimport sys, json; print(json.dumps([m for m in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}


def test_import_contract_is_kept():
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_CONTRACT, "--no-cache", "--no-logo"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("package", ["zoo_core", "zoo_kernels", *sorted(FAMILIES)])
def test_modules_import_each_other_in_no_circle(package):
    """Imports inside functions count; those for type checkers alone do not."""
    graph = grimp.build_graph(package, exclude_type_checking_imports=True, cache_dir=None)
    imports = {m: graph.find_modules_directly_imported_by(m) for m in graph.modules}
    for module, found in imports.items():
        found.discard(module)
    TopologicalSorter(imports).prepare()  # raises CycleError, which names the circle


def test_kernels_import_torch_alone_and_triton_only_in_triton_files():
    allowed = set(sys.stdlib_module_names) | {"torch", "zoo_kernels"}
    strays = {
        str(path.relative_to(ROOT)): extra
        for path, names in modules(KERNELS)
        if (extra := names - allowed - ({"triton"} if path.name == "_triton.py" else set()))
    }
    assert strays == {}


def test_core_names_no_family_in_its_imports():
    strays = {path.name for path, names in modules(ROOT / "zoo_core") if names & FAMILIES}
    assert strays == set()


def test_child_processes_are_started_in_one_place():
    """By `zoo_core.child`, which keeps the current folder and secrets from them.

    The kernels, which cannot import it, start the compiler in one place; it is told what to see.
    """
    folders = [ROOT / "zoo_core", KERNELS, *(plugin / "src" for plugin in PLUGINS)]
    found = {
        str(path.relative_to(ROOT))
        for folder in folders
        for path in sorted(folder.rglob("*.py"))
        if list(starters(path))
    }
    assert found == {"zoo_core/child.py", "kernels/zoo_kernels/build.py"}


@pytest.mark.parametrize(
    "line",
    [
        "import subprocess",
        "from subprocess import run",
        "import os; os.system('ls')",
        "from os import execv",
        "import multiprocessing.pool",
        "from torch import multiprocessing",
        "from concurrent.futures import ProcessPoolExecutor",
        "asyncio.create_subprocess_exec('ls')",
    ],
)
def test_the_search_for_child_processes_finds_them(line, tmp_path):
    (tmp_path / "module.py").write_text(line)
    assert list(starters(tmp_path / "module.py"))


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda path: path.name)
def test_plugin_imports_no_other_family(plugin):
    others = FAMILIES - {f"zoo_{plugin.name}"}
    strays = {path.name for path, names in modules(plugin / "src") if names & others}
    assert strays == set()


def test_every_hook_is_typed_and_documented():
    hooks = {name: hook for name, hook in vars(ZooHooks).items() if name.startswith("zoo_")}
    assert len(hooks) == 12
    assert [name for name, hook in hooks.items() if not (hook.__doc__ or "").strip()] == []
    assert [name for name, hook in hooks.items() if "return" not in hook.__annotations__] == []
    guide = (ROOT / "docs" / "design.md").read_text()
    assert [name for name in hooks if f"`{name}`" not in guide] == []


def test_listing_imports_nothing_heavy():
    names = imported_in_a_child("import zoo_core; zoo_core.list_models()")
    assert names & HEAVY == set()


@pytest.mark.parametrize("point", sorted(entry_points(group="density_zoo")), ids=lambda p: p.name)
def test_plugin_module_imports_nothing_heavy(point):
    names = imported_in_a_child(f"import {point.value}")
    assert names & HEAVY == set()


def test_accelerate_is_imported_by_training_alone():
    folders = (ROOT / "zoo_core", *PLUGINS)
    users = [p for folder in folders for p, names in modules(folder) if "accelerate" in names]
    assert users and {p.relative_to(ROOT).parts[:2] for p in users} == {("zoo_core", "training")}


def test_every_plugin_folder_is_installed():
    assert {p.name for p in entry_points(group="density_zoo")} >= {p.name for p in PLUGINS}


def test_kernels_folder_shadows_no_package_of_that_name():
    assert not (ROOT / "kernels" / "__init__.py").exists()


def test_folders_of_tests_are_no_packages():
    """Two plugins' `tests/test_plugin.py` would collide, and `tests/kernels` shadow `kernels`."""
    files = [p for p in tracked() if p.name.startswith("test_") and p.suffix == ".py"]
    folders = {folder for p in files for folder in p.parents if "tests" in folder.parts}
    assert [f for f in folders if (f / "__init__.py").exists()] == []


def test_every_package_folder_has_an_init_and_is_found():
    for where in (ROOT, ROOT / "kernels", *(p / "src" for p in PLUGINS)):
        found = set(find_packages(str(where), include=["zoo_*"]))
        folders = {
            ".".join(p.parent.relative_to(where).parts)
            for p in tracked()
            if p.suffix == ".py" and p.is_relative_to(where)
        }
        packages = {name for name in folders if name.startswith("zoo_")}
        assert packages - found == set()


def test_plugins_carry_the_license_of_the_project():
    text = (ROOT / "LICENSE").read_text()
    places = [*PLUGINS, *ROOT.glob("examples/*/")]
    packages = [p for p in places if (p / "pyproject.toml").exists()]
    assert [p.name for p in packages if (p / "LICENSE").read_text() != text] == []


def test_no_file_names_a_machine_of_ours():
    """Absolute home and work folders have no place in what is published."""
    places = tuple(f"/{name}/" for name in ("work", "root", "home"))
    text = {".py", ".md", ".toml", ".json", ".txt", ".cpp", ".h", ".yaml", ""}
    leaks = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in tracked()
        if path.suffix in text and path.stat().st_size < 1 << 20
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if any(place in line for place in places)
    ]
    assert leaks == []
