"""Reads small files that are not trusted: regular files only, of bounded size and depth.

Bounds are checked before the work that they limit. Files that exceed them raise `OSError` or
`ValueError`, which callers turn into an error with the file's name and a remedy.
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
"""Largest text file that is read, in bytes."""

_MAX_DEPTH = 64
_MAX_KEY = 64
"""Most names in a dotted key of TOML, whose cost is quadratic."""
_PART = r"""(?:[\w-]++|"(?:[^"\\\n]|\\.)*+"|'[^'\n]*+')"""
_LONG_KEY = re.compile(rf"(?<![\w-])(?:{_PART}[ \t]*+\.[ \t]*+){{{_MAX_KEY}}}")


class _TooDeepError(ValueError):
    """Nested more deeply than any config is."""

    def __init__(self) -> None:
        super().__init__(f"it is nested more than {_MAX_DEPTH} deep")


def regular(path: Path) -> int:
    """The size in bytes of a regular file; raises `OSError` for anything else.

    Opening a FIFO would block, and reading a device may never end.
    """
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return status.st_size


def read_text(path: Path, max_bytes: int = MAX_TEXT) -> str:
    """A text file in UTF-8 of at most `max_bytes` bytes."""
    if regular(path) > max_bytes:
        raise ValueError(f"it is larger than {max_bytes:,} bytes")
    with path.open("rb") as file:
        return file.read(max_bytes).decode()


def read_json(path: Path, max_bytes: int = MAX_TEXT) -> Any:
    """A JSON file of at most `max_bytes` bytes."""
    return parse_json(read_text(path, max_bytes))


def read_toml(path: Path, max_bytes: int = MAX_TEXT) -> dict[str, Any]:
    """A TOML file of at most `max_bytes` bytes."""
    return parse_toml(read_text(path, max_bytes))


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text; raises `ValueError` if it is invalid or nested too deeply."""
    try:
        return _shallow(json.loads(text))
    except RecursionError:
        raise _TooDeepError from None


def parse_toml(text: str) -> dict[str, Any]:
    """The table of a TOML text; raises `ValueError` if it is invalid or nested too deeply."""
    if _LONG_KEY.search(text):
        raise ValueError(f"a key of it has more than {_MAX_KEY} parts")
    try:
        table: dict[str, Any] = _shallow(tomllib.loads(text))
    except RecursionError:
        raise _TooDeepError from None
    return table


def literal(text: str) -> Any:
    """The value of an option `name=value`: JSON (`5`, `0.5`, `true`, `[1,2]`), else a string.

    >>> literal("0.5"), literal("raster")
    (0.5, 'raster')
    """
    try:
        return parse_json(text)
    except _TooDeepError as error:
        raise ConfigError(f"the value {text:.20}... cannot be read: {error}.") from None
    except ValueError:
        return text


def shown(value: Any, max_chars: int = 200) -> str:
    """`repr(value)` for a message, cut if it is long."""
    text = repr(value)
    return text if len(text) <= max_chars else f"{text[:max_chars]}..."


def _shallow(value: Any) -> Any:
    """`value`, unchanged; raises if its lists and tables are nested too deeply."""
    level = [value]
    for _ in range(_MAX_DEPTH):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return value
    raise _TooDeepError


def _inside(value: Any) -> Any:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
