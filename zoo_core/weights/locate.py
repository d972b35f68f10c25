"""Locate the weights of a name, and fetch those that are elsewhere; needs no torch.

The order is: bundled with a plugin or its companion, a path, the cache, the Hub or the
addresses of a card.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from zoo_core.catalog import licences
from zoo_core.catalog.layout import METADATA
from zoo_core.catalog.names import HubName, Name
from zoo_core.catalog.references import parse_model
from zoo_core.catalog.registry import ModelInfo, current
from zoo_core.catalog.specs import ModelSpec, Pretrained
from zoo_core.errors import PluginError, UnknownNameError, UsageError
from zoo_core.weights.hub.access import Access
from zoo_core.weights.location import Elsewhere, WeightsLocation

if TYPE_CHECKING:
    from zoo_core.weights.hub.snapshot import Plan

__all__ = ["Pulled", "WeightsLocation", "find", "plan", "pull"]


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


def plan(name: str, *, access: Access | None = None) -> "Plan | None":
    """What `pull` would fetch; None for weights that are here. At most one request is made."""
    access = access or Access()
    found = _resolve(name, access)
    if isinstance(found, Elsewhere):
        return found.plan(access)
    _check_local(name, found)
    return None


def _check_local(name: str, location: WeightsLocation) -> None:
    """Raise unless a local folder holds a model."""
    if location.converter is None and not (location.folder / METADATA).is_file():
        state = "holds no model" if location.folder.exists() else "does not exist"
        raise UnknownNameError(
            f"{name!r} {state}; pull fetches a tag or a repository on the Hub.",
            hint="zoo pull hf://org/name, or a tag of zoo list --pretrained",
        )


def find(name: str | Name | HubName | Path, access: Access | None = None) -> WeightsLocation:
    """Locate the weights of a name; those that are elsewhere are fetched."""
    access = access or Access()
    found = _resolve(name, access)
    return found.fetch(access) if isinstance(found, Elsewhere) else found


def _resolve(name: str | Name | HubName | Path, access: Access) -> WeightsLocation | Elsewhere:
    """Where the weights of a name are; makes no request."""
    parsed = parse_model(name) if isinstance(name, str) else name
    if isinstance(parsed, Path):
        from zoo_core.weights.detect_format import detect_converter

        _refuse_revision(str(name), access)
        return WeightsLocation(parsed, converter=detect_converter(parsed))
    if isinstance(parsed, HubName):
        return _repository(parsed, access)
    return _tagged(parsed, access)


def _tagged(name: Name, access: Access) -> WeightsLocation | Elsewhere:
    info = current().model(name)
    if info.tag is None:
        tags = [row.name for row in current().list_models(f"{name.name}.*", pretrained=True)]
        raise UnknownNameError(
            f"{str(name)!r} names an architecture; pretrained: {', '.join(tags) or 'none'}.",
            hint=f"zoo.create({str(name)!r}) makes fresh parameters",
            command=_training(name.name),
        )
    if info.tag.hub is not None:
        return _published(info.tag.hub, info.spec, name, access)
    _refuse_revision(str(name), access)
    _check_companion(info)
    if info.tag.folder is None:
        raise UnknownNameError(
            f"{info.name} is a recipe; its weights exist nowhere yet.",
            hint=f"zoo train --recipe {info.name}",
        )
    return WeightsLocation(info.tag.folder, spec=info.spec)


def _check_companion(info: ModelInfo) -> None:
    """Raise `PluginError` for weights of a companion that is missing, or that are two."""
    assert info.tag is not None
    if info.tag.status == "companion":
        raise PluginError(
            f"the weights of {info.name} are in {info.tag.companion}, which is not installed.",
            hint=f"pip install {info.tag.companion}",
        )
    if info.tag.status == "conflict":
        raise PluginError(
            f"{info.tag.companion} hold different weights {info.name}.",
            hint="uninstall the distribution whose weights you do not want",
        )


def _training(arch: str) -> str:
    """The command that trains an architecture."""
    known = [row for row in current().list_models(f"{arch}.*") if row.tag and row.tag.recipe]
    return f"zoo train --recipe {known[0].name if known else './my.toml'} trains one"


def _repository(name: HubName, access: Access) -> Elsewhere:
    """A repository by its name, at the commit that the user pinned unless a revision is named."""
    from zoo_core.catalog import lockfile as pins

    pin = pins.pinned(f"hf://{name.repo}")
    revision = _revision(name.revision, access)
    if pin is None or revision:
        return Elsewhere(str(name), name.repo, revision)
    return Elsewhere(str(name), pin.repo, pin.revision, pin.sha256)


def _published(weights: Pretrained, spec: ModelSpec, name: Name, access: Access) -> Elsewhere:
    """Published weights, if their licence lets them load.

    Stated hashes hold for the stated revision only.
    """
    licences.check(f"{spec.arch}.{weights.tag}", weights, accept=access.accept_license)
    revision = _revision(name.revision, access)
    if weights.repo is None:
        _refuse_revision(str(name), replace(access, revision=revision))
    revision = revision or weights.revision
    pins = weights.hashes if revision == weights.revision else {}
    return Elsewhere(str(name), weights.repo, revision, pins, weights, spec)


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
