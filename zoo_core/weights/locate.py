"""Locate the weights of a name, and fetch those on the Hub; needs no torch.

The order is: bundled with a plugin, a path, the Hub's cache, the Hub.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from zoo_core.catalog.names import HubName, Name
from zoo_core.catalog.references import parse_model
from zoo_core.catalog.registry import current
from zoo_core.catalog.specs import ModelSpec, Pretrained
from zoo_core.errors import UnknownNameError, UsageError
from zoo_core.weights.hub.access import Access

if TYPE_CHECKING:
    from zoo_core.weights.hub.snapshot import Snapshot

__all__ = ["Pulled", "WeightsLocation", "find", "pull"]


@dataclass(frozen=True)
class Pulled:
    """The commit that a name was resolved to, its folder in the cache, and hashes by path."""

    name: str
    folder: Path
    repo: str | None = None
    commit: str | None = None
    sha256: Mapping[str, str] = field(default_factory=dict)
    size: int | None = None


def pull(name: str, *, access: Access | None = None) -> Pulled:
    """Fetch the weights of a name into the cache, so that it loads offline; needs no torch."""
    from zoo_core.weights.file_hashes import sha256

    location = find(name, access)
    got = location.snapshot
    if got is None:
        _check_local(name, location)
        return Pulled(name, location.folder)
    digests = {f.path: f.sha256 or sha256(got.folder / f.path) for f in got.files}
    size = sum(file.size for file in got.files)
    return Pulled(name, got.folder, got.repo, got.commit, digests, size)


def _check_local(name: str, location: "WeightsLocation") -> None:
    """Raise unless a local folder holds a model."""
    from zoo_core.catalog.layout import METADATA

    if location.converter is None and not (location.folder / METADATA).is_file():
        state = "holds no model" if location.folder.exists() else "does not exist"
        raise UnknownNameError(
            f"{name!r} {state}; pull fetches a tag or a repository on the Hub.",
            hint="zoo pull hf://org/name, or a tag of zoo list --pretrained",
        )


@dataclass(frozen=True)
class WeightsLocation:
    """The folder of a pretrained model, and the snapshot on the Hub that it comes from."""

    folder: Path
    snapshot: "Snapshot | None" = None
    converter: str | None = None
    spec: ModelSpec | None = None
    """The architecture, if a registered name was asked for."""

    @property
    def origin(self) -> str | None:
        return self.snapshot.name if self.snapshot else None

    @property
    def files(self) -> list[str]:
        """Paths of the files that a converter may read; of a snapshot only verified files."""
        from zoo_core.weights.detect_format import checkpoint_files

        assert self.converter is not None
        if self.snapshot is None:
            return checkpoint_files(self.folder, self.converter)
        return [file.path for file in self.snapshot.files]


def find(name: str | Name | HubName | Path, access: Access | None = None) -> WeightsLocation:
    """Locate the weights of a name; those on the Hub are fetched."""
    access = access or Access()
    parsed = parse_model(name) if isinstance(name, str) else name
    if isinstance(parsed, Path):
        from zoo_core.weights.detect_format import detect_converter

        _refuse_revision(str(name), access)
        return WeightsLocation(parsed, converter=detect_converter(parsed))
    if isinstance(parsed, HubName):
        return _repository(parsed, access)
    return _tagged(parsed, access)


def _tagged(name: Name, access: Access) -> WeightsLocation:
    info = current().model(name)
    if info.tag is None:
        tags = [row.name for row in current().list_models(f"{name.name}.*", pretrained=True)]
        raise UnknownNameError(
            f"{str(name)!r} names an architecture; pretrained: {', '.join(tags) or 'none'}.",
            hint=f"zoo.create({str(name)!r}) makes fresh parameters",
            command=_training(name.name),
        )
    if info.tag.hub is not None:
        return replace(_pinned(info.tag.hub, name, access), spec=info.spec)
    _refuse_revision(str(name), access)
    if info.tag.folder is None:
        raise UnknownNameError(
            f"{info.name} is a recipe; its weights exist nowhere yet.",
            hint=f"zoo train --recipe {info.name}",
        )
    return WeightsLocation(info.tag.folder, spec=info.spec)


def _training(arch: str) -> str:
    """The command that trains an architecture."""
    known = [row for row in current().list_models(f"{arch}.*") if row.tag and row.tag.recipe]
    return f"zoo train --recipe {known[0].name if known else './my.toml'} trains one"


def _repository(name: HubName, access: Access) -> WeightsLocation:
    """A repository by its name, at the commit that the user pinned unless a revision is named."""
    from zoo_core.catalog import lockfile as pins

    pin = pins.pinned(f"hf://{name.repo}")
    if pin is None or name.revision or access.revision:
        return _fetched(name.repo, name.revision, access, str(name))
    return _fetched(pin.repo, pin.revision, access, str(name), pin.sha256)


def _pinned(weights: Pretrained, name: Name, access: Access) -> WeightsLocation:
    """A registered tag; its hashes apply to its own revision only."""
    revision = _revision(name.revision, access) or weights.revision
    pins = dict(weights.sha256) if revision == weights.revision else {}
    access = replace(access, revision=None)
    return _fetched(weights.repo, revision, access, str(name), pins, weights.converter)


def _fetched(
    repo: str,
    revision: str | None,
    access: Access,
    name: str,
    pins: Mapping[str, str] | None = None,
    converter: str | None = None,
) -> WeightsLocation:
    from zoo_core.catalog import layout
    from zoo_core.weights.hub.snapshot import snapshot

    by_hand = f"zoo convert hf://{repo} FOLDER --converter {converter}"
    select = layout.zoo_files
    if converter is not None:
        select = partial(layout.third_party_files, hint=by_hand)
    revision = _revision(revision, access)
    got = snapshot(repo, select, access, revision=revision, pins=pins or None, name=name)
    return WeightsLocation(got.folder, got, converter)


def _revision(named: str | None, access: Access) -> str | None:
    if named and access.revision and named != access.revision:
        raise UsageError(
            f"two revisions are named: @{named} and revision={access.revision!r}.",
            hint="name one",
        )
    return named or access.revision


def _refuse_revision(name: str, access: Access) -> None:
    if access.revision is not None:
        raise UnknownNameError(
            f"{name!r}: only weights on the Hub have revisions.",
            hint=f"drop the revision {access.revision!r}",
        )
