"""Rows 0..n-1 in numbered files of one folder, made by any number of processes.

    pieces = Pieces.begin(folder, n=50_000, size=1024, facts={"model": "made.digits", "seed": 0})
    for k, rows in pieces.missing(shard=3, shards=8):
        write(pieces.path(k), rows)      # whole or not at all

File k holds rows k * size .. (k + 1) * size - 1, and shard s of S makes the files k with k mod S
= s. What is there already is not made again, so a run that was killed goes on where it was.
`manifest.json` states n, the size and the facts that the rows depend on; another run's is refused.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo_core.errors import DataError, OutputError, UsageError
from zoo_core.files import write_json
from zoo_core.reading import parse_json

__all__ = ["MANIFEST", "Pieces"]

MANIFEST = "manifest.json"
_SCHEMA = 1
_MAX_FILES = 100_000


@dataclass(frozen=True)
class Pieces:
    """The files of n rows in a folder, `size` rows each but for the last one."""

    folder: Path
    n: int
    size: int
    facts: Mapping[str, Any]
    suffix: str = ".npz"

    @classmethod
    def begin(
        cls, folder: Path, *, n: int, size: int, facts: Mapping[str, Any], suffix: str = ".npz"
    ) -> "Pieces":
        """Start the folder, or go on with one of the same n, size and facts.

        Raises `OutputError` if it holds another run's files, or any others.
        """
        if n < 1 or -(-n // size) > _MAX_FILES:
            raise UsageError(
                f"{n:,} rows in files of {size:,} are {-(-n // size):,} files; from 1 to "
                f"{_MAX_FILES:,} are possible.",
                hint="make larger pieces",
            )
        own = cls(folder, n, size, json.loads(json.dumps(dict(facts))), suffix)
        if (folder / MANIFEST).exists():
            own._check(cls.read(folder))
            return own
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise OutputError(
                f"{folder} is there, and no run's folder.", hint="name a new or an empty folder"
            )
        write_json(folder / MANIFEST, own.record())
        return own

    @classmethod
    def read(cls, folder: Path) -> "Pieces":
        """The pieces that a folder's manifest states; raises `DataError` if there is none."""
        path = folder / MANIFEST
        try:
            value: Any = parse_json(path.read_text())
            if value["schema"] != _SCHEMA or not 0 < value["n"] <= _MAX_FILES * value["size"]:
                raise ValueError(f"schema {value['schema']}, {value['n']} rows")
            return cls(folder, value["n"], value["size"], value["facts"], value["suffix"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path} is no manifest of zoo ({error}).") from None

    def record(self) -> dict[str, Any]:
        """The JSON form."""
        sizes = {"n": self.n, "size": self.size, "suffix": self.suffix}
        return {"schema": _SCHEMA, **sizes, "facts": self.facts}

    def __len__(self) -> int:
        """The number of files."""
        return -(-self.n // self.size)

    def path(self, k: int) -> Path:
        return self.folder / f"{k:05d}{self.suffix}"

    def rows(self, k: int) -> range:
        """The rows of file k."""
        return range(k * self.size, min(self.n, (k + 1) * self.size))

    def missing(self, shard: int = 0, shards: int = 1) -> Iterator[tuple[int, range]]:
        """Number and rows of each file of a shard that is not there; more may come meanwhile."""
        if not 0 <= shard < shards:
            raise UsageError(f"shard {shard} of {shards}; it must lie in [0, {shards}).")
        for k in range(shard, len(self), shards):
            if not self.path(k).exists():
                yield k, self.rows(k)

    def _check(self, other: "Pieces") -> None:
        """Raise unless another manifest of the folder is of the same run."""
        own, there = ({**p.record(), **p.facts} for p in (self, other))
        names = sorted(k for k in own.keys() | there.keys() if own.get(k) != there.get(k))
        changed = [f"{k}: {there.get(k)!r} there, {own.get(k)!r} here" for k in names]
        if changed:
            listed = "; ".join(c for c in changed if not c.startswith("facts:"))
            raise OutputError(
                f"{self.folder} holds another run: {listed}.",
                hint="go on with the same options, or name another folder",
            )
