"""Prepares what `make wheel` builds of a plugin: itself, and a companion for weights beyond 25 MB.

    python -m tools.companions plugins/diffusion ...    # prints the folders to build

The largest tags move into `density-zoo-<family>-weights` until the rest takes at most 25 MB. The
plugin's wheel keeps their recipes and a note that names the companion. Nothing in the checkout is
changed; a plugin with less weights is built where it is.
"""

import argparse
import shutil
import tomllib
from pathlib import Path
from typing import Any

from zoo_core.catalog.companions import GROUP, NOTE

MOST_BYTES = 25_000_000

PYPROJECT = """\
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "{dist}-weights"
version = "{version}"
description = "Further pretrained weights of {dist}"
readme = "README.md"
license = "{license}"
license-files = ["LICENSE"]
requires-python = ">=3.11"
dependencies = ["{dist}~={version}"]

{urls}[project.entry-points."{group}"]
{package} = "{package}_weights"

[tool.setuptools.packages.find]
where = ["src"]

[tool.setuptools.package-data]
{package}_weights = ["weights/**/*"]
"""


def size(folder: Path) -> int:
    """The bytes of all files below a folder."""
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())


def moved(weights: Path, most: int = MOST_BYTES) -> list[str]:
    """The largest tags of a plugin, so many that the rest takes at most `most` bytes."""
    sizes = {p.name: size(p) for p in weights.iterdir() if p.is_dir()} if weights.is_dir() else {}
    names, left = [], sum(sizes.values())
    for name in sorted(sizes, key=lambda n: (-sizes[n], n)):
        if left <= most:
            break
        names.append(name)
        left -= sizes[name]
    return names


def prepare(plugin: Path, out: Path, most: int = MOST_BYTES) -> list[Path]:
    """The folders to build wheels from: the plugin, or copies of it and of its companion."""
    (source,) = (p.parent for p in plugin.glob("src/*/__init__.py"))
    names = moved(source / "weights", most)
    if not names:
        return [plugin]
    reduced, companion = out / plugin.name, out / f"{plugin.name}-weights"
    for folder in (reduced, companion):
        shutil.rmtree(folder, ignore_errors=True)
    junk = shutil.ignore_patterns("build", "tests", "*.egg-info", "__pycache__")
    shutil.copytree(plugin, reduced, ignore=junk)
    _write_companion(reduced, companion, source.name)
    for name in names:
        _move(name, reduced / "src" / source.name, companion / "src" / f"{source.name}_weights")
    return [reduced, companion]


def _write_companion(plugin: Path, companion: Path, package: str) -> None:
    """Everything of a companion but the weights."""
    project = tomllib.loads((plugin / "pyproject.toml").read_text())["project"]
    place = companion / "src" / f"{package}_weights"
    place.mkdir(parents=True)
    (place / "__init__.py").write_text(f'"""Weights for {package}; there is no code."""\n')
    (companion / "README.md").write_text(
        f"Further weights of {project['name']}, which finds them by name once this is installed.\n"
    )
    shutil.copy(plugin / "LICENSE", companion)
    text = PYPROJECT.format(
        dist=project["name"],
        version=project["version"],
        license=project["license"],
        package=package,
        group=GROUP,
        urls=_urls(project),
    )
    (companion / "pyproject.toml").write_text(text)


def _urls(project: dict[str, Any]) -> str:
    """The table of a project's addresses, if it has any."""
    if "urls" not in project:
        return ""
    lines = [f'{name} = "{address}"' for name, address in project["urls"].items()]
    return "\n".join(["[project.urls]", *lines, "", ""])


def _move(name: str, plugin: Path, companion: Path) -> None:
    """Move a tag's weights into the companion, and leave a note of where they are."""
    (companion / "weights").mkdir(exist_ok=True)
    (plugin / "weights" / name).rename(companion / "weights" / name)
    note = plugin / "weights" / name / NOTE
    note.parent.mkdir()
    project = tomllib.loads((companion.parents[1] / "pyproject.toml").read_text())["project"]
    note.write_text(f"{project['name']}\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("plugins", type=Path, nargs="+", metavar="PLUGIN")
    parser.add_argument("--out", type=Path, default=Path("build/packages"))
    given = parser.parse_args()
    for plugin in given.plugins:
        print(*prepare(plugin, given.out), sep="\n")
