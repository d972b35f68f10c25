"""The child process of `zoo_core.installing.probe`: loads plugins, or checks one, and prints JSON.

Only the answer goes to stdout; what plugins print goes to stderr.
"""

import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from zoo_core.cli.messages import on_stderr

__all__: list[str] = []


def _loaded(names: Sequence[str]) -> dict[str, Any]:
    """In the child: load these plugins, whether they are disabled or not, and describe them."""
    from zoo_core.catalog.plugins import Plugins, discover
    from zoo_core.catalog.registry import Registry

    points = [p for p in discover() if p.name in names]
    registry = Registry(Plugins(points, disabled=(), strict=False))
    models: dict[str, list[str]] = {}
    for row in registry.list_models():
        models.setdefault(row.plugin.name, []).append(row.name)
    heavy = sorted({"torch", "numpy"} & sys.modules.keys())
    return {
        name: {**asdict(record), "models": models.get(name, []), "heavy": heavy}
        for name, record in registry.plugins.records.items()
        if name in names
    }


def _checked(names: Sequence[str], *, whole: bool = True) -> dict[str, Any]:
    """In the child: the conformance checks of the first plugin, with the others loaded too.

    With `whole` the checks of its models run as well.
    """
    from zoo_core.catalog.plugins import Plugins, discover
    from zoo_core.catalog.registry import Registry

    points = [p for p in discover() if p.name in names]
    registry = Registry(Plugins(points, disabled=(), strict=False))
    from zoo_core.testing import run_checks  # after the plugins: it imports torch

    return {"results": [asdict(r) for r in run_checks(names[0], registry, models=whole)]}


def _child(what: str, names: Sequence[str]) -> None:
    real = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    does: dict[str, Callable[[Sequence[str]], dict[str, Any]]]
    does = {"load": _loaded, "check": _checked, "admit": partial(_checked, whole=False)}
    with on_stderr():
        answer = does[what](names)
    sys.stdout.flush()
    with os.fdopen(real, "w") as out:
        json.dump(answer, out)


if __name__ == "__main__":
    _child(sys.argv[1], sys.argv[2:])
