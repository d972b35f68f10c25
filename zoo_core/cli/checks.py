"""The checks of `zoo plugins check`; they run in a process of their own, see `probe`."""

import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any

from zoo_core.plugins import Plugins, discover
from zoo_core.registry import Entry, Registry, use
from zoo_core.specs import import_target
from zoo_core.weights.tags import Tag

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
            if kind == "model":
                results += [r for e in own for r in _models(registry, e)]
    return results


def _models(registry: Registry, entry: Entry[Any]) -> Iterator[Result]:
    from zoo_core.testing import checks

    for check in checks:
        yield _run(check.__name__.removeprefix("check_"), entry.spec.name, check, entry.spec)
    for tag in registry.tags(entry):
        if tag.folder is not None:
            yield _run("reproduces its golden tensors", f"{tag.arch}.{tag.tag}", _golden, tag)


def _targets(entry: Entry[Any]) -> None:
    import_target(entry.spec.target)
    if hasattr(entry.spec, "config"):
        import_target(entry.spec.config)


def _golden(tag: Tag) -> None:
    from zoo_core.weights import golden
    from zoo_core.weights.checkpoint import GOLDEN, load

    assert tag.folder is not None
    model = load(tag.folder)
    assert (tag.folder / GOLDEN).is_file(), f"{tag.folder} has no {GOLDEN}"
    golden.check(model, tag.folder)


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
