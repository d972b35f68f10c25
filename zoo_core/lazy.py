"""Public names from a stub file, imported on first use.

`__init__.pyi` and `plugin.pyi` say where each public name lives. Type checkers read them as they
are, and `attach` reads them at run time, so that the table is written once.
"""

import ast
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

__all__ = ["attach"]


def attach(file: str) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """`__getattr__`, `__dir__` and `__all__` of the module in `file`, from the stub beside it.

    A stub holds `from .module import Name as Name` alone, relative to `zoo_core`.
    """
    homes = _homes(Path(file).with_suffix(".pyi"))

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {Path(file).stem!r} has no attribute {name!r}")
        return _resolve(homes[name], name)

    return get, lambda: sorted(homes), sorted(homes)


def _homes(stub: Path) -> dict[str, str]:
    """The modules of the names of a stub, relative to `zoo_core`."""
    imports = [n for n in ast.parse(stub.read_text()).body if isinstance(n, ast.ImportFrom)]
    return {alias.name: node.module or "" for node in imports for alias in node.names}


def _resolve(module: str, name: str) -> Any:
    if not module:
        return import_module(f"zoo_core.{name}")
    return getattr(import_module(f"zoo_core.{module}"), name)
