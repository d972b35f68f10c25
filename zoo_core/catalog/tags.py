"""Tags of an architecture: bundled weights, recipes, and weights published elsewhere.

The package of a plugin holds `weights/<arch>.<tag>/`, with `zoo.json` and `model.safetensors`,
`recipes/<arch>.<tag>.toml`, and `cards.toml`; companions hold further weights. Listing tags reads
these, without torch or the network.
"""

import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from zoo_core.catalog import licences, lockfile
from zoo_core.catalog.cards import cards_in
from zoo_core.catalog.companions import (
    NOTE,
    Companion,
    companions,
    folder_of_package,
    where_to_get,
)
from zoo_core.catalog.layout import EVALUATION, METADATA, joint_hash
from zoo_core.catalog.significance import significance_of
from zoo_core.catalog.specs import LicenseClass, ModelSpec, Pretrained

__all__ = ["Tag", "tags_of"]

Status = Literal["bundled", "pinned", "unpinned", "recipe", "companion", "conflict"]
"""`companion`: in a distribution that is not installed; `conflict`: two hold other weights."""


@dataclass(frozen=True)
class Tag:
    """A set of weights of an architecture, or a recipe for one."""

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
    """The record that `zoo evaluate --record` wrote for these weights."""
    hub: Pretrained | None = None
    companion: str | None = None
    """The companion distribution that holds the weights; of a conflict, all that hold them."""

    @property
    def here(self) -> bool:
        """Whether there are weights that a plugin, a companion or a card gives."""
        return self.status in ("bundled", "pinned", "unpinned")

    @property
    def proven(self) -> bool | None:
        """Whether the weights beat the baselines; None if that was not recorded."""
        weights = _weights_hash(self.folder, self.metadata or {})
        record = self.evaluation or {}
        if weights is None or record.get("model", {}).get("weights") != weights:
            return None
        return significance_of(record).pretrained

    @property
    def untested(self) -> bool:
        """Whether nobody has loaded the real files yet."""
        return self.hub is not None and self.hub.untested

    @property
    def license_class(self) -> LicenseClass | None:
        """What the licence allows; None if that is not known."""
        if self.hub is not None:
            return licences.class_of_weights(self.hub)
        return licences.class_of(self.license)

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """The metrics that were measured here and recorded with the weights."""
        return list((self.metadata or {}).get("metrics") or [])

    @property
    def published(self) -> list[dict[str, Any]]:
        """The numbers that the source of the weights reports, which nobody has measured here."""
        return [] if self.hub is None else [*_reported(self.hub), *map(asdict, self.hub.published)]


def tags_of(spec: ModelSpec, cards: Iterable[Pretrained] | None = None) -> list[Tag]:
    """The tags of an architecture, sorted by name; `cards` are those of the package by default."""
    package = package_folder(spec)
    if cards is None:
        cards = () if package is None else cards_in(package).get(spec.arch, ())
    tags = {tag.tag: tag for tag in _published(spec, cards)}
    if package is not None:
        tags |= {tag.tag: tag for tag in _recipes(spec.arch, package)}
        tags |= _noted(spec.arch, package, tags)
        tags |= _bundled(spec.arch, package, companions(package_name(spec)))
    return [tags[name] for name in sorted(tags)]


def package_name(spec: ModelSpec) -> str:
    """The top-level package that the spec's target is in."""
    return spec.target.partition(":")[0].partition(".")[0]


def package_folder(spec: ModelSpec) -> Path | None:
    """The folder of the package that the spec's target is in."""
    return folder_of_package(package_name(spec))


def _published(spec: ModelSpec, cards: Iterable[Pretrained]) -> Iterator[Tag]:
    for pretrained in (*spec.pretrained, *cards):
        weights = lockfile.applied(f"{spec.arch}.{pretrained.tag}", pretrained)
        yield Tag(
            spec.arch,
            weights.tag,
            weights.status,
            weights.license,
            weights.source,
            params=weights.params,
            size=weights.download_size,
            hub=weights,
        )


def _reported(weights: Pretrained) -> list[dict[str, Any]]:
    """The numbers among `Pretrained.metrics`, as rows."""
    stated = dict(weights.metrics)
    common = {"data": "", "source": weights.source, "relation": stated.get("relation")}
    numbers = {k: v for k, v in stated.items() if isinstance(v, int | float)}
    return [{"name": name, "value": value, **common} for name, value in numbers.items()]


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


def _noted(arch: str, package: Path, known: Mapping[str, Tag]) -> dict[str, Tag]:
    """The tags whose weights are in a companion by a note of the plugin."""
    tags = {}
    for path in package.glob(f"weights/{arch}.*/{NOTE}"):
        tag = _tag(path.parent.name)
        about = known.get(tag) or Tag(arch, tag, "recipe", "unstated", "unstated")
        tags[tag] = replace(about, status="companion", companion=where_to_get(path.parent))
    return tags


def _bundled(arch: str, package: Path, others: Iterable[Companion]) -> dict[str, Tag]:
    """The tags whose weights are in the package or in a companion."""
    tags = {tag.tag: tag for tag in _weights_in(arch, package, package)}
    for companion in others:
        if companion.folder is None:
            continue
        for tag in _weights_in(arch, companion.folder, package):
            tag = replace(tag, companion=str(companion))
            tags[tag.tag] = _agreed(tags.get(tag.tag), tag)
    return tags


def _agreed(first: Tag | None, second: Tag) -> Tag:
    """The first of two tags of one name, if both are of the same weights; else a conflict."""
    if first is None:
        return second
    same = _weights_hash(first.folder, first.metadata or {})
    if same is not None and same == _weights_hash(second.folder, second.metadata or {}):
        return first
    holders = f"{first.companion or 'the plugin'} and {second.companion}"
    stated = ("unstated", "unstated")
    return Tag(first.arch, first.tag, "conflict", *stated, recipe=first.recipe, companion=holders)


def _weights_in(arch: str, folder: Path, package: Path) -> Iterator[Tag]:
    """The tags with weights in a folder; their recipes are in the plugin's package."""
    for path in folder.glob(f"weights/{arch}.*/zoo.json"):
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


def _weights_hash(folder: Path | None, metadata: Mapping[str, Any]) -> str | None:
    """The hash of the weights in a model's folder, whose submodels are folders in it."""
    below = [] if folder is None else folder.glob(f"*/{METADATA}")
    submodels = {p.parent.name: _weights_hash(p.parent, json.loads(p.read_text())) for p in below}
    return joint_hash(metadata.get("files") or {}, submodels)


def _evaluation(folder: Path) -> dict[str, Any] | None:
    path = folder / EVALUATION
    if not path.is_file():
        return None
    record: dict[str, Any] = json.loads(path.read_text())
    return record


def _tag(stem: str) -> str:
    return stem.partition(".")[2]
