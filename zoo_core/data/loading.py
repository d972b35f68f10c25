"""`zoo.load_dataset`: data sets by name and options.

`npz:PATH`, `npy:PATH`, `table:PATH`, `folder:PATH` and `binarized_mnist:PATH` set the option
`path=PATH` of the data set before the colon. A path alone is read by `npz` or `npy` if it ends in
.npz or .npy, by `table` if it ends in .csv, .tsv or .parquet, and by `folder` if it is one; by
`samples` if it is the folder of a sharded `zoo sample`.
"""

import dataclasses
import os
from typing import TYPE_CHECKING, Any

from zoo_core import config as configs
from zoo_core.catalog.specs import import_target
from zoo_core.errors import PluginError, UnknownNameError, UsageError
from zoo_core.pieces import MANIFEST

if TYPE_CHECKING:
    from zoo_core.data.dataset import Dataset

__all__ = ["load_dataset", "parse_data"]

_TABLES = (".csv", ".tsv", ".parquet")


def load_dataset(name: str, *, transforms: Any = (), **options: Any) -> "Dataset":
    """A data set by name or path, e.g. `"digits"`, `"samples.npz"` or `"npz:samples.npz"`.

    `options` are the fields of the data set's class. `transforms` are applied to its batches, e.g.
    `["flip", {"shift": 2}]` (`zoo_core.data.transforms`). Raises `UnknownNameError` for names that
    no plugin declares, `ConfigError` for wrong options, `DataError` for unreadable files, and
    `PluginError` for a plugin whose data set is none.

    >>> len(load_dataset("moons", train=100).split("train"))
    100
    """
    from zoo_core.catalog.registry import current
    from zoo_core.data.dataset import Dataset
    from zoo_core.data.transforms import parse_transforms

    dataset_name, path = parse_data(name)
    spec = current().datasets.one(dataset_name).spec
    cls = import_target(spec.target)
    options = {k: os.fspath(v) if isinstance(v, os.PathLike) else v for k, v in options.items()}
    if path is not None:
        options = _with_path(name, cls, path, options)
    dataset = configs.from_dict(cls, options, where=f"{spec.name}.")()
    if not isinstance(dataset, Dataset):
        raise PluginError(f"data set {spec.name!r} returned {type(dataset).__name__}, no Dataset.")
    return dataset.transformed(*parse_transforms(transforms))


def parse_data(text: str) -> tuple[str, str | None]:
    """Parse `[dist:]name[:path]`, or a path alone, into the name of a data set and a path."""
    from zoo_core.catalog.names import is_path, warn_of_file
    from zoo_core.catalog.registry import current

    if not isinstance(text, str):
        raise UnknownNameError(f"{text!r} is not a data set name.", hint="a name is a string")
    if is_path(text):
        return _reader(text), text
    names = current().datasets.names
    words = text.split(":")
    for k in (1, 2):
        if len(words) > k and words[k - 1] in names:
            return ":".join(words[:k]), ":".join(words[k:])
    if words[-1] in names:
        warn_of_file(text)
        return text, None
    if "/" in text or text.endswith((".npz", ".npy", *_TABLES)) or os.path.exists(text):
        return _reader(text), text
    return text, None


def _reader(path: str) -> str:
    """The name of the data set that reads a path."""
    if path.endswith((".npz", ".npy")):
        return path[-3:]
    if path.lower().endswith(_TABLES):
        return "table"
    if os.path.isdir(os.path.expanduser(path)):
        manifest = os.path.join(os.path.expanduser(path), MANIFEST)
        return "samples" if os.path.isfile(manifest) else "folder"
    exists = os.path.exists(os.path.expanduser(path))
    raise UnknownNameError(
        f"{path[:80]!r} {'is no .npz, .npy, table or folder' if exists else 'does not exist'}.",
        hint="a data set is a name (zoo data lists them), an .npz or .npy file, a table (.csv, "
        ".tsv, .parquet), or a folder of images",
    )


def _with_path(name: str, cls: Any, path: str, options: dict[str, Any]) -> dict[str, Any]:
    if not path:
        raise UsageError(f"{name!r} has no path after the colon.", hint=f"write {name}PATH")
    if "path" not in {f.name for f in dataclasses.fields(cls)}:
        raise UsageError(f"{name!r}: data set {name.split(':')[0]!r} is read from no path.")
    if "path" in options:
        raise UsageError(f"{name!r} and option path = {options['path']!r}; give one path.")
    return {**options, "path": path}
