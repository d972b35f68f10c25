"""A Hub on this machine, a model in it, and a user who has nothing cached."""

import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "hub"))

from carded import PLUGIN, WEIGHTS  # noqa: E402
from fake_hub import Hub  # noqa: E402
from netlike import CONFIG, NET, others  # noqa: E402
from safetensors.torch import save as to_safetensors  # noqa: E402

import zoo_core as zoo  # noqa: E402
from zoo_core.catalog.cards import CARDS  # noqa: E402
from zoo_core.weights import golden  # noqa: E402
from zoo_core.weights.hub import patience  # noqa: E402

NAMES = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A fake Hub that HF_ENDPOINT points at; retries wait a hundredth of their time."""
    for name in (*NAMES, "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(patience, "_PAUSES", (0.005, 0.01, 0.02, 0.04))
    server = Hub()
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    yield server
    server.close()


@pytest.fixture
def cache(hub, tmp_path):
    """The folder of the cache."""
    return tmp_path / "cache" / "hub"


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """The files of a small model, by path."""
    from importlib.metadata import EntryPoint

    from zoo_core.catalog.plugins import Plugins
    from zoo_core.catalog.registry import Registry, use

    mini = EntryPoint("mini", "zoo_mini.plugin", "density_zoo")
    with use(Registry(Plugins([mini], disabled=()))):
        model = zoo.create("mini_ar", side=2, hidden=8)
        folder = model.save(tmp_path_factory.mktemp("m") / "m", golden=golden.record(model))
    return {p.name: p.read_bytes() for p in folder.iterdir()}


@pytest.fixture
def commit(hub, files, minis):
    """The commit of the model `me/mini` on the Hub; the miniature family is in force."""
    return hub.add("me/mini", files)


@pytest.fixture
def zoo_command(capfd):
    """Run the command in this process; returns (exit code, stdout, stderr)."""
    from zoo_core.cli import main

    def run(*argv):
        capfd.readouterr()
        code = main([str(a) for a in argv])
        return code, *capfd.readouterr()

    return run


@pytest.fixture
def carded(hub, install, registry_of, monkeypatch, tmp_path):
    """A function that installs a plugin with the given cards; its `model` is the network."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))

    def start(cards):
        point = install(PLUGIN)
        package = install.site / "zoo_carded"
        shutil.rmtree(package, ignore_errors=True)
        package.mkdir()
        (package / "__init__.py").write_text("")
        (package / "net.py").write_text(
            "from zoo_mini.autoregressive import Config, MiniAR as Base\n"
            "class MiniAR(Base):\n    pass\n"
        )
        (package / "convert.py").write_text(NET)
        (package / CARDS).write_text(cards)
        return registry_of(point)

    yield start
    for name in [n for n in sys.modules if n.partition(".")[0] == "zoo_carded"]:
        del sys.modules[name]


@pytest.fixture
def published(hub, minis):
    """A repository of a third party's layout on the Hub, by name; returns the network."""
    model = zoo.create("mini_ar", side=2, hidden=8)
    files = {"config.json": CONFIG.encode(), WEIGHTS: to_safetensors(others(model))}

    def add(*tags):
        for tag in tags:
            hub.add(f"them/{tag}", files)
        return model

    return add
