"""`zoo.load_dataset`: from a name and options to a data set.

`npz:PATH`, `folder:PATH` and `binarized_mnist:PATH` are short for the option `path=PATH` of the
data set before the colon.
"""

import dataclasses
import os
from typing import TYPE_CHECKING, Any

from zoo_core import config as configs
from zoo_core.errors import PluginError, UnknownNameError, UsageError
from zoo_core.specs import import_target

if TYPE_CHECKING:
    from zoo_core.data.dataset import Dataset
    from zoo_core.registry import Registry

__all__ = ["load_dataset"]


def load_dataset(name: str, **options: Any) -> "Dataset":
    """A data set by name, e.g. `"digits"` or `"npz:samples.npz"`.

    `options` are the fields of the data set's class. Raises `UnknownNameError` for names that no
    plugin declares, `ConfigError` for options and `DataError` for files that do not fit.
    """
    from zoo_core.data.dataset import Dataset
    from zoo_core.registry import current

    known, path = _parse(name, current())
    spec = current().one("dataset", known).spec
    cls = import_target(spec.target)
    options = {k: os.fspath(v) if isinstance(v, os.PathLike) else v for k, v in options.items()}
    if path is not None:
        options = _with_path(name, cls, path, options)
    dataset = configs.from_dict(cls, options, where=f"{spec.name}.")()
    if not isinstance(dataset, Dataset):
        raise PluginError(f"data set {spec.name!r} returned {type(dataset).__name__}, no Dataset.")
    return dataset


def _parse(text: str, registry: "Registry") -> tuple[str, str | None]:
    """`[dist:]name[:path]` as a data set's name and the path."""
    from zoo_core.names import is_path

    if not isinstance(text, str):
        raise UnknownNameError(f"{text!r} is not a data set name.", hint="a name is a string")
    if is_path(text):
        raise UnknownNameError(
            f"{text[:80]!r} is a path.", hint=f"write 'npz:{text[:80]}' or 'folder:{text[:80]}'"
        )
    names = {e.spec.name for e in registry.all("dataset")}
    parts = text.split(":")
    for k in (1, 2):
        if len(parts) > k and parts[k - 1] in names:
            return ":".join(parts[:k]), ":".join(parts[k:])
    return text, None


def _with_path(name: str, cls: Any, path: str, options: dict[str, Any]) -> dict[str, Any]:
    if not path:
        raise UsageError(f"{name!r} has no path after the colon.", hint=f"write {name}PATH")
    if "path" not in {f.name for f in dataclasses.fields(cls)}:
        raise UsageError(f"{name!r}: data set {name.split(':')[0]!r} is read from no path.")
    if "path" in options:
        raise UsageError(f"{name!r} and option path = {options['path']!r}; give one path.")
    return {**options, "path": path}
