"""A folder with a real plugin distribution in it, and the command run in and out of process."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

import pytest

from zoo_core.catalog.plugins import Plugins
from zoo_core.catalog.registry import Registry, use

OURS = re.compile(r"(?i)density.zoo|zoo_|__editable__|__pycache__|.*\.pth$")
HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE / "places"))


def _install(site, dist, points, version="1.0"):
    """A dist-info folder, as pip leaves it."""
    folder = site / f"{dist.replace('-', '_')}-{version}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(
        f"Metadata-Version: 2.4\nName: {dist}\nVersion: {version}\nSummary: for tests\n"
        "License-Expression: CC0-1.0\nRequires-Dist: density-zoo\n"
    )
    lines = "".join(f"{name} = {value}\n" for name, value in points.items())
    (folder / "entry_points.txt").write_text(f"[density_zoo]\n{lines}")


def registry(site):
    """The registry of the plugins installed in `site`, and of no others."""
    points = [p for d in distributions(path=[str(site)]) for p in d.entry_points]
    return Registry(Plugins(points, disabled=()))


def write_weights(package):
    """Bundled weights with golden tensors: fair dice, dice with a class each, and fog."""
    import torch

    import zoo_core as zoo
    from zoo_core.weights import golden

    score = {"nats": -181.326, "std_err": 0.0, "bits_per_dim": 4.0875}
    metrics = [{"split": "test", "n": 360, "kind": "exact", "relation": "equal", **score}]
    models = {
        "dice.fair": (zoo.create("dice"), None),
        "dice.classy": (zoo.create("dice", classes=10), torch.arange(4)),
        "fog.grey": (zoo.create("fog"), None),
    }
    for name, (model, cond) in models.items():
        tensors = golden.record(model, cond=cond)
        kept = {"license": "CC0-1.0", "source": "made for tests", "metrics": metrics}
        model.save(package / "weights" / name, golden=tensors, **kept)


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """A folder for PYTHONPATH with the distribution `density-zoo-tiny`."""
    site = tmp_path_factory.mktemp("site")
    package = shutil.copytree(HERE / "tiny" / "zoo_tiny", site / "zoo_tiny")
    (package / "__init__.py").touch()
    _install(site, "density-zoo-tiny", {"tiny": "zoo_tiny.plugin"})
    sys.path.insert(0, str(site))
    try:
        with use(registry(site)):
            write_weights(package)
    finally:
        sys.path.remove(str(site))
    return site


@pytest.fixture(scope="session")
def install():
    """`install(site, dist, entry_points)` makes a distribution out of modules in a folder."""
    return _install


@pytest.fixture(scope="session")
def third_party(tmp_path_factory):
    """A folder with a link to every installed package but the zoo's own."""
    folder = tmp_path_factory.mktemp("third_party")
    for place in [Path(p) for p in sys.path if p.endswith("site-packages")]:
        for entry in place.iterdir():
            if not OURS.match(entry.name) and not (folder / entry.name).exists():
                (folder / entry.name).symlink_to(entry)
    return folder


@dataclass
class Ended:
    """How a run of the command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


@pytest.fixture
def place(tmp_path, third_party):
    """An environment of a user, with the core in it and a folder for wheels beside it."""
    from place import Place

    return Place(tmp_path, third_party)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Config, cache and working folder of a user who has nothing yet."""
    for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    for name in ("ZOO_CACHE", "ZOO_PLUGINS", "ZOO_DISABLE_PLUGINS", "ZOO_STRICT_PLUGINS"):
        monkeypatch.delenv(name, raising=False)
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return work


@pytest.fixture
def zoo(site, home, monkeypatch, capfd):
    """Run the command in this process, with the tiny plugin and no other."""
    from zoo_core.cli import main

    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("PYTHONPATH", search_path(site))
    loaded = registry(site)

    def run(*argv):
        capfd.readouterr()
        with use(loaded):
            code = main([str(a) for a in argv])
        return Ended(code, *capfd.readouterr())

    return run


def search_path(*sites):
    return os.pathsep.join(map(str, [*sites, ROOT, ROOT / "kernels"]))


@pytest.fixture
def start(site, home):
    """Start Python as a process of its own; `sites` are further folders with plugins.

    It minds SIGINT, even where the tests run in the background of a shell and do not.
    """

    def run(*argv, sites=(), **env):
        path = search_path(site, *sites)
        return subprocess.Popen(
            [sys.executable, *map(str, argv)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **env},
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    return run


@pytest.fixture
def shell(start):
    """Run the command as a process of its own."""

    def run(*argv, **options):
        with start("-m", "zoo_core", *argv, **options) as process:
            out, err = process.communicate(timeout=120)
        return Ended(process.returncode, out, err)

    return run
