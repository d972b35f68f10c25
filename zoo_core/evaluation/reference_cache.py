"""Features of reference data, kept in the cache under the hash of data and extractor."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from zoo_core import sealed
from zoo_core.errors import IntegrityError
from zoo_core.evaluation.feature_set import FeatureSet
from zoo_core.evaluation.features import Extractor
from zoo_core.files import cache_dir
from zoo_core.hashing import absorb
from zoo_core.spaces import Event

__all__ = ["NEIGHBOURS", "digest", "reference_features"]

NEIGHBOURS = (3, 5)
"""Neighbours whose radii are kept: the 3rd for precision and recall, the 5th for the others."""

_FORMAT = 2
"""Version of the cached files; it rises with each change of their meaning."""


def digest(x: Tensor) -> str:
    """SHA-256 of the values, with their dtype and shape."""
    sha256 = hashlib.sha256()
    absorb(sha256, x)
    return sha256.hexdigest()


def reference_features(
    x: Tensor, event: Event, extract: Extractor, neighbours: Sequence[int] = NEIGHBOURS
) -> FeatureSet:
    """The features of reference events and their neighbour radii, cached."""
    description = f"{_FORMAT} {digest(x)} {event} {extract.identity} {list(neighbours)}"
    key = hashlib.sha256(description.encode()).hexdigest()
    path = cache_dir() / "features" / f"{key}.safetensors"
    cached = _read(path, description, len(x))
    if cached is not None:
        return cached
    features = FeatureSet(extract(x, event))
    for k in neighbours:
        features.radii(k)
    sealed.write(path, {"points": features.points.contiguous(), **features.derived}, description)
    return features


def _read(path: Path, description: str, n: int) -> FeatureSet | None:
    """The cached features, or None if the file is missing, damaged or of something else."""
    try:
        text, tensors = sealed.read(path)
    except IntegrityError:
        return None
    points = tensors.pop("points", None)
    if text != description or points is None or len(points) != n:
        return None
    return FeatureSet(points, tensors)
