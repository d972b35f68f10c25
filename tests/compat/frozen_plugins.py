"""The frozen plugins as pip would install them: sources on the path, and their entry points."""

import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from zoo_core.catalog.plugins import Plugins, discover
from zoo_core.catalog.registry import Registry

FROZEN = Path(__file__).parent / "frozen"
MANIFEST = FROZEN / "manifest.json"
EXAMPLES = ("zoo-rings", "zoo-energy", "zoo-addons")
SCAFFOLD = "density-zoo-acme-mixture"


def projects() -> dict[Path, dict]:
    """The `project` table of every frozen plugin, by its folder."""
    found = sorted((FROZEN / "plugins").glob("*/pyproject.toml"))
    return {p.parent: tomllib.loads(p.read_text())["project"] for p in found}


def declared() -> list[str]:
    """The names of the frozen plugins: a distribution may declare several."""
    return [name for p in projects().values() for name in p["entry-points"]["density_zoo"]]


@contextmanager
def frozen_registry() -> Iterator[Registry]:
    """A registry of the frozen plugins and of all that are installed.

    Inside the block modules of these names are the frozen ones, whatever was imported before.
    """
    packages = [p.name for folder in projects() for p in folder.glob("src/*")]
    before, path = _taken(packages), list(sys.path)
    with TemporaryDirectory() as site:
        sys.path[:0] = [site, *(str(folder / "src") for folder in projects())]
        for project in projects().values():
            installed_in(Path(site), project)
        try:
            yield Registry(Plugins(discover(), disabled=()))
        finally:
            _taken(packages)
            sys.modules |= before
            sys.path[:] = path


def installed_in(site: Path, project: dict) -> None:
    """The dist-info folder that pip would write."""
    name, version = project["name"], project["version"]
    info = site / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    points = project["entry-points"]["density_zoo"].items()
    lines = "".join(f"{name} = {module}\n" for name, module in points)
    (info / "entry_points.txt").write_text(f"[density_zoo]\n{lines}")


def _taken(packages: list[str]) -> dict:
    """The loaded modules of these packages, which are loaded no more."""
    names = [name for name in sys.modules if name.split(".")[0] in packages]
    return {name: sys.modules.pop(name) for name in names}
