"""Small files of which nothing is known yet: a regular file, of so many bytes, nested so deeply.

The bounds are looked at before the work that they bound. What does not keep them raises `OSError`
or `ValueError`, which each caller turns into an error that names the file and the remedy.
"""

import errno
import json
import os
import re
import stat
import tomllib
from pathlib import Path
from typing import Any

from zoo_core.errors import ConfigError

__all__ = [
    "MAX_TEXT",
    "literal",
    "parse_json",
    "parse_toml",
    "read_json",
    "read_text",
    "read_toml",
    "regular",
    "shown",
]

MAX_TEXT = 1 << 20
"""Bytes of a text file that is read whole."""

_MAX_DEPTH = 64
_MAX_KEY = 64
"""Parts of a dotted key of TOML, whose cost is the square of their number."""
_PART = r"""(?:[\w-]++|"(?:[^"\\\n]|\\.)*+"|'[^'\n]*+')"""
_LONG_KEY = re.compile(rf"(?<![\w-])(?:{_PART}[ \t]*+\.[ \t]*+){{{_MAX_KEY}}}")


class _TooDeepError(ValueError):
    """Brackets in brackets, more than any config has."""

    def __init__(self) -> None:
        super().__init__(f"it is nested more than {_MAX_DEPTH} deep")


def regular(path: Path) -> int:
    """The bytes of a regular file; `OSError` for anything else, which might never end.

    Opening a FIFO waits for somebody to write to it, and a device may have no end.
    """
    found = path.stat()
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return found.st_size


def read_text(path: Path, most: int = MAX_TEXT) -> str:
    """A text file in UTF-8 of at most `most` bytes."""
    if regular(path) > most:
        raise ValueError(f"it is larger than {most:,} bytes")
    with path.open("rb") as file:
        return file.read(most).decode()


def read_json(path: Path, most: int = MAX_TEXT) -> Any:
    """A JSON file of at most `most` bytes."""
    return parse_json(read_text(path, most))


def read_toml(path: Path, most: int = MAX_TEXT) -> dict[str, Any]:
    """A TOML file of at most `most` bytes."""
    return parse_toml(read_text(path, most))


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text; `ValueError` if it is none or is nested too deeply."""
    try:
        return _shallow(json.loads(text))
    except RecursionError:
        raise _TooDeepError from None


def parse_toml(text: str) -> dict[str, Any]:
    """The table of a TOML text; `ValueError` if it is none or is nested too deeply."""
    if _LONG_KEY.search(text):
        raise ValueError(f"a key of it has more than {_MAX_KEY} parts")
    try:
        table: dict[str, Any] = _shallow(tomllib.loads(text))
    except RecursionError:
        raise _TooDeepError from None
    return table


def literal(text: str) -> Any:
    """What an option `name=value` says: JSON (`5`, `0.5`, `true`, `[1,2]`), or else a string."""
    try:
        return parse_json(text)
    except _TooDeepError as error:
        raise ConfigError(f"the value {text:.20}... cannot be read: {error}.") from None
    except ValueError:
        return text


def shown(value: Any, most: int = 200) -> str:
    """`repr(value)` for a message, cut where it is long."""
    text = repr(value)
    return text if len(text) <= most else f"{text[:most]}..."


def _shallow(value: Any) -> Any:
    """A value as it is, once its lists and tables were seen to end, level by level."""
    level = [value]
    for _ in range(_MAX_DEPTH):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return value
    raise _TooDeepError


def _inside(value: Any) -> Any:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
