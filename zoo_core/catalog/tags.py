"""Tags of an architecture: weights bundled in its plugin, recipes, and weights on the Hub.

A plugin's package holds `weights/<arch>.<tag>/zoo.json` with `model.safetensors` beside it, and
`recipes/<arch>.<tag>.toml`. Listing reads the JSON; neither torch nor the network is needed.
"""

import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from zoo_core.catalog import lockfile as pins
from zoo_core.catalog.layout import EVALUATION, METADATA, joint_hash
from zoo_core.catalog.significance import verdict
from zoo_core.catalog.specs import ModelSpec, Pretrained

__all__ = ["Tag", "tags_of"]

Status = Literal["bundled", "pinned", "unpinned", "recipe"]


@dataclass(frozen=True)
class Tag:
    """One set of weights of an architecture, or the recipe for it."""

    arch: str
    tag: str
    status: Status
    license: str
    source: str
    folder: Path | None = None
    recipe: Path | None = None
    params: int | None = None
    size: int | None = None
    metadata: dict[str, Any] | None = None
    evaluation: dict[str, Any] | None = None
    """What `zoo evaluate --record` found of these weights."""
    hub: Pretrained | None = None

    @property
    def proven(self) -> bool | None:
        """Whether the weights beat their null baseline; None where that was not recorded."""
        of = _weights(self.folder, self.metadata or {})
        found = self.evaluation or {}
        recorded = found.get("model", {}).get("weights")
        return verdict(found).pretrained if of is not None and recorded == of else None

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """What was recorded with the weights, or what their source reports."""
        if self.hub is not None:
            return [dict(self.hub.metrics)] if self.hub.metrics else []
        return list((self.metadata or {}).get("metrics") or [])


def tags_of(spec: ModelSpec) -> list[Tag]:
    """The tags of an architecture, sorted by name."""
    found = {tag.tag: tag for tag in _hub(spec)}
    package = package_folder(spec)
    if package is not None:
        found |= {tag.tag: tag for tag in _recipes(spec.arch, package)}
        found |= {tag.tag: tag for tag in _bundled(spec.arch, package)}
    return [found[name] for name in sorted(found)]


def package_folder(spec: ModelSpec) -> Path | None:
    """The folder of the package that the spec's target is in."""
    found = find_spec(spec.target.partition(":")[0].partition(".")[0])
    places = found.submodule_search_locations if found else None
    return Path(next(iter(places))) if places else None


def _hub(spec: ModelSpec) -> Iterator[Tag]:
    for declared in spec.pretrained:
        weights = pins.applied(f"{spec.arch}.{declared.tag}", declared)
        yield Tag(
            spec.arch,
            weights.tag,
            weights.status,
            weights.license,
            weights.source,
            size=weights.size,
            hub=weights,
        )


def _recipes(arch: str, package: Path) -> Iterator[Tag]:
    for path in package.glob(f"recipes/{arch}.*.toml"):
        recipe = tomllib.loads(path.read_text())
        yield Tag(
            arch,
            _tag(path.stem),
            "recipe",
            recipe.get("license", "unstated"),
            recipe.get("source", "unstated"),
            recipe=path,
        )


def _bundled(arch: str, package: Path) -> Iterator[Tag]:
    for path in package.glob(f"weights/{arch}.*/zoo.json"):
        tag = _tag(path.parent.name)
        metadata = json.loads(path.read_text())
        recipe = package / "recipes" / f"{arch}.{tag}.toml"
        yield Tag(
            arch,
            tag,
            "bundled",
            metadata.get("license", "unstated"),
            metadata.get("source", "unstated"),
            folder=path.parent,
            recipe=recipe if recipe.exists() else None,
            params=metadata.get("params"),
            size=sum(file.get("size", 0) for file in metadata.get("files", {}).values()) or None,
            metadata=metadata,
            evaluation=_evaluation(path.parent),
        )


def _weights(folder: Path | None, metadata: Mapping[str, Any]) -> str | None:
    """What names the weights in a folder of ours, each part of which is a folder as well."""
    below = [] if folder is None else folder.glob(f"*/{METADATA}")
    parts = {p.parent.name: _weights(p.parent, json.loads(p.read_text())) for p in below}
    return joint_hash(metadata.get("files") or {}, parts)


def _evaluation(folder: Path) -> dict[str, Any] | None:
    path = folder / EVALUATION
    if not path.is_file():
        return None
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def _tag(stem: str) -> str:
    return stem.partition(".")[2]
