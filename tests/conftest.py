"""Options and fixtures of all tests: plugins written on the spot, and the miniature family."""

import itertools
import shutil
import sys
import textwrap
from importlib.metadata import EntryPoint, PathDistribution
from pathlib import Path
from urllib.parse import urlsplit

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


BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


@pytest.fixture
def browser():
    """`browser(width)`: a page of the installed Chromium, which no request leaves to another host.

    What it wrote to its console is `page.said`, what it asked others for, `page.asked`.
    """
    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    if executable is None:
        pytest.skip(f"no browser here to look with: none of {', '.join(BROWSERS)} is installed")
    reason = "playwright, which drives the browser, is not installed: make test-slow installs it"
    playwright = pytest.importorskip("playwright.sync_api", reason=reason)
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=executable, args=["--no-sandbox"])

        def page(width):
            page = chromium.new_page(viewport={"width": width, "height": 900})
            page.said, page.asked = [], []
            page.on("console", lambda message: page.said.append(message.text))
            page.on("pageerror", lambda error: page.said.append(str(error)))
            page.on("request", lambda request: _note(page.asked, request.url))
            return page

        yield page
        chromium.close()


def _note(asked, url):
    """Add the host of a request, unless it is this machine or part of the page."""
    host = urlsplit(url).hostname
    if host not in (None, "127.0.0.1", "localhost"):
        asked.append(host)


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
