"""Options and fixtures of all tests: plugins written on the spot, and the miniature family."""

import itertools
import sys
import textwrap
from importlib.metadata import EntryPoint, PathDistribution
from pathlib import Path

import pytest
import torch

MINIATURES = Path(__file__).parent / "miniatures"
sys.path.insert(0, str(MINIATURES))

_serial = itertools.count()


@pytest.fixture(autouse=True)
def _same_parameters_in_every_run():
    """Fresh parameters come from torch's generator; tests leave it as they found it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory, monkeypatch):
    """No test reads or writes the user's config and cache, or obeys the user's switches."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "config"))
    monkeypatch.setenv("ZOO_CACHE", str(home / "cache"))
    for name in ("ZOO_PLUGINS", "ZOO_DISABLE_PLUGINS", "ZOO_STRICT_PLUGINS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def install(tmp_path, monkeypatch):
    """`install(source, name=..., dist=...) -> EntryPoint`: a real distribution on `sys.path`.

    `source` is the text of the plugin module, which gets a name of its own (`{module}` in the
    source); `files` are further modules `{module}_<name>` beside it.
    """
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))

    def write(source, *, name="acme", dist="zoo-acme", **files):
        module = f"zoo_test_plugin_{next(_serial)}"
        for suffix, text in {"": source, **{f"_{k}": v for k, v in files.items()}}.items():
            text = textwrap.dedent(text).replace("{module}", module)
            (site / f"{module}{suffix}.py").write_text(text)
        info = site / f"{dist.replace('-', '_')}_{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {dist}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[density_zoo]\n{name} = {module}\n")
        (point,) = PathDistribution(info).entry_points
        return point

    write.site = site
    return write


@pytest.fixture
def registry_of():
    """`registry_of(*entry_points, **options) -> Registry` of just these plugins and the core."""
    from zoo_core.catalog.plugins import Plugins
    from zoo_core.catalog.registry import Registry

    def build(*points, disabled=(), **options):
        return Registry(Plugins(entry_points=points, disabled=disabled, **options))

    return build


MINI = EntryPoint("mini", "zoo_mini.plugin", "density_zoo")


@pytest.fixture
def minis(registry_of):
    """The miniature family, in force."""
    from zoo_core.catalog.registry import use

    with use(registry_of(MINI)) as registry:
        yield registry
