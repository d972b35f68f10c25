"""The user's `plugins.toml`: plugins that are disabled, and those installed by `zoo`.

disabled = ["glow_extras"]

[installed.density-zoo-flows]      # what `zoo plugins sync` restores
requirement = "density-zoo-flows"

Writing one key keeps all others, even those that this version does not know.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from zoo_core.errors import PluginError
from zoo_core.files import NoHomeError, config_dir, write_atomically
from zoo_core.reading import read_toml

__all__ = ["config_path", "forget", "read", "trace_path", "write"]


def config_path() -> Path:
    """The path of this user's `plugins.toml`."""
    return config_dir() / "plugins.toml"


def trace_path(plugin: str) -> Path:
    """The path of the traceback of a plugin that failed its check after installation."""
    return config_path().parent / "failed" / f"{plugin}.txt"


def read() -> dict[str, Any]:
    """The whole file, {} if there is none; raises `PluginError` if it is unreadable."""
    try:
        path = config_path()
        config = read_toml(path)
        _check(config)
    except (FileNotFoundError, NoHomeError):
        return {}
    except (OSError, ValueError) as error:
        raise PluginError(f"{path} cannot be read ({error}).", hint="mend or delete it") from error
    return config


def write(**changes: Any) -> None:
    """Replace these keys and keep the others; the write is atomic."""
    text = "\n".join(_table({**read(), **changes})).lstrip("\n") + "\n"
    write_atomically(config_path(), text.encode())


def forget(dist: str, plugins: Iterable[str]) -> None:
    """Drop what is kept of an uninstalled distribution and its plugins."""
    config, gone = read(), set(plugins)
    installed = {d: entry for d, entry in config.get("installed", {}).items() if d != dist}
    write(installed=installed, disabled=[p for p in config.get("disabled", []) if p not in gone])
    for plugin in gone:
        trace_path(plugin).unlink(missing_ok=True)


def _check(config: Mapping[str, Any]) -> None:
    names, installed = config.get("disabled", []), config.get("installed", {})
    if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
        raise ValueError("`disabled` must be a list of names")
    if not isinstance(installed, dict) or not all(isinstance(v, dict) for v in installed.values()):
        raise ValueError("`installed` must be a table of tables")


def _table(table: Mapping[str, Any], *path: str) -> Iterator[str]:
    """Yield the lines of a TOML table: its values, then its subtables."""
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
    """A TOML string: escapes are those of JSON, except that DEL must be escaped."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
