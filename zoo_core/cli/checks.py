"""The checks of `zoo plugins check`; they run in a process of their own, see `probe`."""

import sys
import traceback
from collections.abc import Callable
from typing import Any

from zoo_core.plugins import Plugins, discover
from zoo_core.registry import Entry, Registry, use
from zoo_core.specs import import_target

__all__ = ["check_plugin"]

Result = dict[str, str]

_KINDS = ("model", "loss", "sampler", "likelihood", "dataset", "metric", "converter")
_SLOW_SECONDS = 0.2
_HEAVY = {"torch", "numpy"}


def check_plugin(name: str) -> list[Result]:
    """Every check on one plugin as `{check, on, status, message}`; other plugins load too."""
    before = _HEAVY & sys.modules.keys()
    plugins = Plugins([p for p in discover() if p.name == name], disabled=(), strict=False)
    heavy = sorted((_HEAVY & sys.modules.keys()) - before)
    registry = Registry(plugins)
    record = plugins.records[name]
    results = [
        _result("loads", name, record.error or "; ".join(record.problems)),
        _result("imports nothing heavy", name, f"it imports {', '.join(heavy)}" if heavy else ""),
        _result("loads fast", name, _slowness(record.seconds)),
    ]
    with use(registry):
        for kind in _KINDS:
            own = [e for e in registry.all(kind) if e.plugin.name == name]
            results += [_run(f"{kind}'s targets import", e.spec.name, _targets, e) for e in own]
        results += _laws(name, registry) if record.status == "ok" else []
    return results


def _laws(name: str, registry: Registry) -> list[Result]:
    """The conformance kit on the plugin and its models, at their tiny configs."""
    from zoo_core.testing import run_checks

    return [
        {
            "check": found.check.removeprefix("check_"),
            "on": found.subject,
            "status": found.status,
            "message": f"{found.message}\n{found.traceback}".strip(),
        }
        for found in run_checks(name, registry)
    ]


def _targets(entry: Entry[Any]) -> None:
    import_target(entry.spec.target)
    if hasattr(entry.spec, "config"):
        import_target(entry.spec.config)


def _run(check: str, on: str, function: Callable[..., None], *arguments: Any) -> Result:
    try:
        function(*arguments)
    except Exception as error:
        return _result(check, on, f"{type(error).__name__}: {error}\n{traceback.format_exc()}")
    return _result(check, on)


def _result(check: str, on: str, message: str = "") -> Result:
    status = "failed" if message else "ok"
    return {"check": check, "on": on, "status": status, "message": message}


def _slowness(seconds: float) -> str:
    return f"it takes {seconds:.2f} s" if seconds > _SLOW_SECONDS else ""
