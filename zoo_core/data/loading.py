"""`zoo.load_dataset`: from a name and options to a data set.

`npz:PATH`, `folder:PATH` and `binarized_mnist:PATH` are short for the option `path=PATH` of the
data set before the colon. A path alone means `npz:` if it ends so, or `folder:` if it is a folder.
"""

import dataclasses
import os
from typing import TYPE_CHECKING, Any

from zoo_core import config as configs
from zoo_core.catalog.specs import import_target
from zoo_core.errors import PluginError, UnknownNameError, UsageError

if TYPE_CHECKING:
    from zoo_core.data.dataset import Dataset

__all__ = ["load_dataset", "parse_data"]


def load_dataset(name: str, **options: Any) -> "Dataset":
    """A data set by name or path, e.g. `"digits"`, `"samples.npz"` or `"npz:samples.npz"`.

    `options` are the fields of the data set's class. Raises `UnknownNameError` for names that no
    plugin declares, `ConfigError` for options and `DataError` for files that do not fit.
    """
    from zoo_core.catalog.registry import current
    from zoo_core.data.dataset import Dataset

    known, path = parse_data(name)
    spec = current().datasets.one(known).spec
    cls = import_target(spec.target)
    options = {k: os.fspath(v) if isinstance(v, os.PathLike) else v for k, v in options.items()}
    if path is not None:
        options = _with_path(name, cls, path, options)
    dataset = configs.from_dict(cls, options, where=f"{spec.name}.")()
    if not isinstance(dataset, Dataset):
        raise PluginError(f"data set {spec.name!r} returned {type(dataset).__name__}, no Dataset.")
    return dataset


def parse_data(text: str) -> tuple[str, str | None]:
    """`[dist:]name[:path]`, or a path alone, as a data set's name and the path."""
    from zoo_core.catalog.names import is_path, warn_of_file
    from zoo_core.catalog.registry import current

    if not isinstance(text, str):
        raise UnknownNameError(f"{text!r} is not a data set name.", hint="a name is a string")
    if is_path(text):
        return _reader(text), text
    names = {e.spec.name for e in current().datasets}
    parts = text.split(":")
    for k in (1, 2):
        if len(parts) > k and parts[k - 1] in names:
            return ":".join(parts[:k]), ":".join(parts[k:])
    if parts[-1] in names:
        warn_of_file(text)
        return text, None
    if "/" in text or text.endswith(".npz") or os.path.exists(text):
        return _reader(text), text
    return text, None


def _reader(path: str) -> str:
    """The data set that reads a path."""
    if path.endswith(".npz"):
        return "npz"
    if os.path.isdir(os.path.expanduser(path)):
        return "folder"
    there = os.path.exists(os.path.expanduser(path))
    raise UnknownNameError(
        f"{path[:80]!r} {'is no .npz file and no folder' if there else 'does not exist'}.",
        hint="a data set is a name (zoo data lists them), an .npz file or a folder of images",
    )


def _with_path(name: str, cls: Any, path: str, options: dict[str, Any]) -> dict[str, Any]:
    if not path:
        raise UsageError(f"{name!r} has no path after the colon.", hint=f"write {name}PATH")
    if "path" not in {f.name for f in dataclasses.fields(cls)}:
        raise UsageError(f"{name!r}: data set {name.split(':')[0]!r} is read from no path.")
    if "path" in options:
        raise UsageError(f"{name!r} and option path = {options['path']!r}; give one path.")
    return {**options, "path": path}
