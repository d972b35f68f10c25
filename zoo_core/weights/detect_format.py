"""Whose checkpoint a folder holds: the converter that reads it, by what its JSON files say.

Diffusers' configs name the class that wrote them (`_class_name`), and a `ConverterSpec` the
classes that it reads. Nothing is guessed: one converter fits, or it must be named. No torch.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from zoo_core.catalog.layout import METADATA, third_party_files
from zoo_core.catalog.registry import current
from zoo_core.catalog.specs import ConverterSpec
from zoo_core.errors import UsageError
from zoo_core.reading import read_json

__all__ = ["converter_of", "files_of"]


def converter_of(folder: Path) -> str | None:
    """The one converter whose classes a folder holds; None of a zoo's own, or without classes.

    Raises `UsageError` where no converter fits, or several do.
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
    """Every class that a converter reads, beside whichever others."""
    return {name for one in spec.reads for name in one}


def _hint(
    folder: Path, classes: set[str], able: list[str], specs: Sequence[ConverterSpec]
) -> str | None:
    """The command that converts the folder, if there is one; else what would be read instead."""
    if able:
        others = f" (or {', '.join(able[1:])})" if able[1:] else ""
        return f"zoo convert {folder} OUT --converter {able[0]}{others}"
    beside = {name for s in specs if _all(s) & classes for name in _all(s)}
    if not beside:
        return None
    strange, known, wanted = (
        ", ".join(sorted(names))
        for names in (classes - beside, classes & beside, beside - classes)
    )
    return f"nothing installed reads {strange}; beside {known} it would be one of {wanted}"


def files_of(folder: Path, converter: str) -> list[str]:
    """What a converter may read of a folder: JSON and safetensors; raises if these are missing."""
    names = [path.relative_to(folder).as_posix() for path in _paths(folder)]
    return third_party_files(names, hint=f"zoo convert {folder} OUT --converter {converter}")


def _classes(folder: Path) -> set[str]:
    """The classes that the configs at the root and in the folders below it name."""
    configs = [_config(p) for p in _paths(folder) if p.name.endswith("config.json")]
    named = [c.get("_class_name") for c in configs if isinstance(c, dict)]
    return {name for name in named if isinstance(name, str)}


def _paths(folder: Path) -> list[Path]:
    return [p for pattern in ("*", "*/*") for p in sorted(folder.glob(pattern)) if p.is_file()]


def _config(path: Path) -> Any:
    """A JSON file, or None where it is none: the converter will say what is wrong with it."""
    try:
        return read_json(path)
    except (OSError, ValueError):
        return None
