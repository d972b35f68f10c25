"""`zoo plugins new` writes a plugin that keeps every law before a line of it is changed."""

import os
import shutil
import subprocess
import sys
import tomllib

import pytest

from zoo_core.testing import run_checks


@pytest.fixture
def written(zoo, home, install, monkeypatch):
    """A new plugin, on the path as an installed one would be."""
    done = zoo("plugins", "new", "acme-energy", "--json")
    assert done.code == 0
    folder = home / done.json["folder"]
    monkeypatch.syspath_prepend(str(folder / "src"))
    install(folder / "src", "density-zoo-acme-energy", {"acme-energy": "zoo_acme_energy.plugin"})
    yield folder
    for name in [name for name in sys.modules if name.startswith("zoo_acme_energy")]:
        del sys.modules[name]


def test_a_new_plugin_is_named_after_the_conventions_and_complete(written):
    files = {str(p.relative_to(written)) for p in written.rglob("*") if p.is_file()}
    package = "src/zoo_acme_energy"
    assert files >= {
        "pyproject.toml",
        "README.md",
        ".gitignore",
        ".github/workflows/test.yml",
        "tests/test_plugin.py",
        f"{package}/plugin.py",
        f"{package}/model.py",
        f"{package}/py.typed",
        f"{package}/recipes/acme_energy.moons.toml",
    }
    project = tomllib.loads((written / "pyproject.toml").read_text())["project"]
    assert project["name"] == "density-zoo-acme-energy"
    assert project["entry-points"]["density_zoo"] == {"acme-energy": "zoo_acme_energy.plugin"}
    texts = "".join(p.read_text() for p in written.rglob("*") if p.suffix in (".py", ".toml"))
    assert not [word for word in ("@name@", "@arch@", "@Class@", "@core@") if word in texts]


def test_a_new_plugin_keeps_every_law(written, registry_of):
    from importlib.metadata import EntryPoint

    point = EntryPoint("acme-energy", "zoo_acme_energy.plugin", "density_zoo")
    results = run_checks("acme-energy", registry_of(point))
    assert len(results) > 20
    assert [f"{r.check}: {r.message}" for r in results if r.status == "failed"] == []


def test_a_new_plugin_is_formatted(written):
    ruff = shutil.which("ruff", path=os.path.dirname(sys.executable)) or shutil.which("ruff")
    if ruff is None:
        pytest.skip("needs ruff")
    for verb in (["check", "--isolated", "--select", "E,F,I,UP,B,ANN"], ["format", "--check"]):
        command = [ruff, *verb, "--line-length", "99", str(written)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", ["Acme", "acme_energy", "1a", "a--b", "a/b", "", "-a", "flows"])
def test_names_that_break_the_conventions_are_refused_with_one_that_keeps_them(zoo, home, name):
    done = zoo("plugins", "new", "--", name)
    assert (done.code, list(home.iterdir())) == (2, [])
    assert "hint: e.g. " in done.err


def test_nothing_that_exists_is_overwritten(zoo, written):
    before = (written / "README.md").read_bytes()
    done = zoo("plugins", "new", "acme-energy")
    assert done.code == 7 and "exists" in done.err
    assert (written / "README.md").read_bytes() == before
    assert zoo("plugins", "new", "acme-energy", "--out", "elsewhere").code == 0
