"""Features of reference data, kept in the cache under the hash of data and extractor."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from zoo_core import sealed
from zoo_core.errors import IntegrityError
from zoo_core.evaluation.feature_set import Cloud
from zoo_core.evaluation.features import Extractor
from zoo_core.files import cache_dir
from zoo_core.hashing import absorb
from zoo_core.spaces import Event

__all__ = ["NEIGHBOURS", "digest", "reference_cloud"]

NEIGHBOURS = (3, 5)
"""Radii that are kept: precision and recall ask for the 3rd neighbour, the others for the 5th."""

_FORMAT = 2
"""Of what is kept; another number for every change of its meaning, so that none is misread."""


def digest(x: Tensor) -> str:
    """SHA-256 of the values, with their type and shape."""
    found = hashlib.sha256()
    absorb(found, x)
    return found.hexdigest()


def reference_cloud(
    x: Tensor, event: Event, extract: Extractor, neighbours: Sequence[int] = NEIGHBOURS
) -> Cloud:
    """The features of reference events, with their neighbour radii; from the cache if there."""
    named = f"{_FORMAT} {digest(x)} {event} {extract.identity} {list(neighbours)}"
    key = hashlib.sha256(named.encode()).hexdigest()
    path = cache_dir() / "features" / f"{key}.safetensors"
    kept = _read(path, named, len(x))
    if kept is not None:
        return kept
    cloud = Cloud(extract(x, event))
    for k in neighbours:
        cloud.radii(k)
    sealed.write(path, {"points": cloud.points.contiguous(), **cloud.derived}, named)
    return cloud


def _read(path: Path, named: str, n: int) -> Cloud | None:
    """What the cache holds of these; a file that is missing or damaged is as good as none."""
    try:
        text, tensors = sealed.read(path)
    except IntegrityError:
        return None
    points = tensors.pop("points", None)
    if text != named or points is None or len(points) != n:
        return None
    return Cloud(points, tensors)
