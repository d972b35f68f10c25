"""`plugins.toml` of a user: which plugins are disabled, and which were installed by `zoo`.

disabled = ["glow_extras"]

[installed.density-zoo-flows]      # what `zoo plugins sync` restores
requirement = "density-zoo-flows"

A change of one key keeps all the others, also those that this version does not know.
"""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from zoo_core.errors import PluginError
from zoo_core.reading import read_toml

__all__ = ["config_path", "read", "trace_path", "write"]


def config_path() -> Path:
    """`plugins.toml` of this user: which plugins are disabled, which were installed."""
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base) / "density-zoo" / "plugins.toml"


def trace_path(plugin: str) -> Path:
    """Where the trace of a plugin is kept that failed its check after it was installed."""
    return config_path().parent / "failed" / f"{plugin}.txt"


def read() -> dict[str, Any]:
    """The whole file, empty if there is none; one that is unreadable is an error that names it."""
    path = config_path()
    try:
        found = read_toml(path)
        _check(found)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise PluginError(f"{path} cannot be read ({error}).", hint="mend or delete it") from error
    return found


def write(**changes: Any) -> None:
    """Replace these keys and keep the others; the file is the old one or the new one."""
    from zoo_core.files import write_atomically

    text = "\n".join(_table({**read(), **changes})).lstrip("\n") + "\n"
    write_atomically(config_path(), text.encode())


def _check(found: Mapping[str, Any]) -> None:
    names, installed = found.get("disabled", []), found.get("installed", {})
    if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
        raise ValueError("`disabled` must be a list of names")
    if not isinstance(installed, dict) or not all(isinstance(v, dict) for v in installed.values()):
        raise ValueError("`installed` must be a table of tables")


def _table(table: Mapping[str, Any], *path: str) -> Iterator[str]:
    """Lines of a TOML table: its values, then the tables below it."""
    values = {k: v for k, v in table.items() if not isinstance(v, dict)}
    if path and (values or not table):
        yield f"\n[{'.'.join(map(_key, path))}]"
    yield from (f"{_key(k)} = {_value(v)}" for k, v in values.items())
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _table(value, *path, key)


def _key(text: str) -> str:
    bare = text.isascii() and text.replace("-", "").replace("_", "").isalnum()
    return text if bare else _string(text)


def _value(value: Any) -> str:
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_key(k)} = {_value(v)}' for k, v in value.items())}}}"
    return str(value)  # numbers, dates and times


def _string(text: str) -> str:
    """JSON's escapes are TOML's, but for DEL, which TOML wants escaped."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
