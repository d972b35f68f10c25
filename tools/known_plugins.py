"""zoo_core/known_plugins.json from the plugins of this repository: their architectures by name.

The core names from it the plugin that a missing architecture is in, without importing one.

python tools/known_plugins.py           # write it
python tools/known_plugins.py --check   # fail if it is out of date
"""

import json
import sys
import tomllib
from pathlib import Path

from zoo_core.catalog.plugins import Plugins, discover
from zoo_core.catalog.registry import Registry

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "zoo_core" / "known_plugins.json"


def text() -> str:
    """The whole file."""
    files = sorted(ROOT.glob("plugins/*/pyproject.toml"))
    projects = [tomllib.loads(path.read_text()) for path in files]
    dists = {
        name: project["project"]["name"]
        for project in projects
        for name in project["project"]["entry-points"]["density_zoo"]
    }
    points = [point for point in discover() if point.name in dists]
    registry = Registry(Plugins(points, disabled=(), strict=True))
    known = {
        name: {
            "dist": dist,
            "archs": [e.spec.arch for e in registry.models if e.plugin.name == name],
        }
        for name, dist in dists.items()
    }
    return json.dumps(known, indent=2) + "\n"


if __name__ == "__main__":
    if "--check" not in sys.argv:
        FILE.write_text(text())
    elif FILE.read_text() != text():
        sys.exit(f"{FILE.name} is out of date: python tools/known_plugins.py")
