"""Detect the format of a third-party checkpoint: the converter that reads a folder.

Diffusers' configs name the class that wrote them (`_class_name`), those of transformers its
`architectures`, and a `ConverterSpec` the classes that it reads. If not exactly one converter
fits, it must be named. Needs no torch.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from zoo_core.catalog.layout import METADATA, third_party_files
from zoo_core.catalog.registry import current
from zoo_core.catalog.specs import ConverterSpec
from zoo_core.errors import UsageError
from zoo_core.reading import read_json

__all__ = ["checkpoint_files", "detect_converter"]


def detect_converter(folder: Path) -> str | None:
    """The converter whose classes a folder holds; None for the zoo's own folders, or no classes.

    Raises `UsageError` if no converter fits, or several do.
    """
    if (folder / METADATA).exists() or not (classes := _classes(folder)):
        return None
    specs = [entry.spec for entry in current().converters]
    fit = [s.name for s in specs if any(set(one) <= classes for one in s.reads)]
    if len(fit) == 1:
        return str(fit[0])
    near = fit or [s.name for s in specs if any(set(one) & classes for one in s.reads)]
    known = f"those that read a part of it: {', '.join(near)}" if near else "none reads any of it"
    raise UsageError(
        f"{folder} holds {', '.join(sorted(classes))}, for which there is "
        f"{'no' if not fit else 'more than one'} converter; {known}.",
        hint=_hint(folder, classes, fit or [s.name for s in specs if classes <= _all(s)], specs),
    )


def _all(spec: ConverterSpec) -> set[str]:
    """Every class that a converter reads in some combination."""
    return {name for one in spec.reads for name in one}


def _hint(
    folder: Path, classes: set[str], able: list[str], specs: Sequence[ConverterSpec]
) -> str | None:
    """The command that converts the folder, or else what is missing."""
    if able:
        others = f" (or {', '.join(able[1:])})" if able[1:] else ""
        return f"zoo convert {folder} OUT --converter {able[0]}{others}"
    beside = {name for s in specs if _all(s) & classes for name in _all(s)}
    if not beside:
        return None
    unknown, known, missing = (
        ", ".join(sorted(names))
        for names in (classes - beside, classes & beside, beside - classes)
    )
    return (
        f"nothing installed reads {unknown}; beside {known} a converter expects one of {missing}"
    )


def checkpoint_files(folder: Path, converter: str) -> list[str]:
    """Files that a converter may read: JSON and safetensors; raises if there are none."""
    names = [path.relative_to(folder).as_posix() for path in _paths(folder)]
    return third_party_files(names, hint=f"zoo convert {folder} OUT --converter {converter}")


def _classes(folder: Path) -> set[str]:
    """The classes that the configs name, at the root and one folder below."""
    configs = [_config(p) for p in _paths(folder) if p.name.endswith("config.json")]
    named = [c.get("_class_name") for c in configs if isinstance(c, dict)]
    return {name for name in (*named, *_architectures(folder)) if isinstance(name, str)}


def _architectures(folder: Path) -> list[Any]:
    """The classes that a config of transformers at the root names."""
    config = _config(folder / "config.json")
    found = config.get("architectures") if isinstance(config, dict) else None
    return found if isinstance(found, list) else []


def _paths(folder: Path) -> list[Path]:
    return [p for pattern in ("*", "*/*") for p in sorted(folder.glob(pattern)) if p.is_file()]


def _config(path: Path) -> Any:
    """A JSON file, or None if it is damaged: the converter reports that."""
    try:
        return read_json(path)
    except (OSError, ValueError):
        return None
