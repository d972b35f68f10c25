"""Public names from a stub file, imported on first use.

A stub, such as `__init__.pyi` or `plugin.pyi`, says where each public name lives. Type checkers
read it as it is, and `attach` reads it at run time, so that the table is written once.
"""

import ast
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

__all__ = ["attach"]

_Attached = tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]


def attach(module: str, file: str) -> _Attached:
    """`__getattr__`, `__dir__` and `__all__` of a module, from the stub beside its file.

        __getattr__, __dir__, __all__ = attach(__name__, __file__)

    The public names are those of the stub's lines `from .home import Name as Name`, relative to
    the package or absolute.
    """
    path = Path(file)
    package = module if path.stem == "__init__" else module.rpartition(".")[0]
    homes = _homes(path.with_suffix(".pyi"))

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        return _resolve(package, homes[name], name)

    return get, lambda: sorted(homes), sorted(homes)


def _homes(stub: Path) -> dict[str, str]:
    """The modules of the names of a stub, relative ones with their leading dot."""
    imports = [n for n in ast.parse(stub.read_text()).body if isinstance(n, ast.ImportFrom)]
    return {
        alias.name: "." * node.level + (node.module or "")
        for node in imports
        for alias in node.names
    }


def _resolve(package: str, home: str, name: str) -> Any:
    if home == ".":  # `from . import name`
        return import_module(f".{name}", package)
    return getattr(import_module(home, package), name)
