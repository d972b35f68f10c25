"""After an installation: each new plugin is checked in a child process, or disabled.

A plugin that does not load, whose hooks or specs are wrong or whose targets do not import is
disabled and its traceback is kept. A plugin that is slow, imports torch too early or declares a
name of another plugin is reported and stays enabled.
"""

import importlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, distribution
from typing import Any, Literal

from zoo_core.catalog import plugin_config
from zoo_core.catalog.hookspecs import PROJECT
from zoo_core.catalog.plugins import set_enabled, survey
from zoo_core.errors import PluginError
from zoo_core.installing import probe

__all__ = ["InstalledPlugin", "admit", "plugins_of"]

_NOTES = (
    "check_plugin_imports_neither_torch_nor_numpy",
    "check_plugin_loads_in_200_ms",
    "check_names_are_its_own",
)
"""Checks whose failure is reported without disabling the plugin."""


@dataclass(frozen=True)
class InstalledPlugin:
    """A plugin that was just installed, and the result of its check."""

    plugin: str
    status: Literal["ok", "disabled", "off"]
    """`off`: it is sound, and the user had disabled it before."""
    models: tuple[str, ...] = ()
    error: str = ""
    trace: str | None = None
    notes: tuple[str, ...] = ()

    def record(self) -> dict[str, Any]:
        return asdict(self)


def plugins_of(dist: str) -> list[str]:
    """Names of the plugins that an installed distribution declares."""
    importlib.invalidate_caches()
    try:
        points = distribution(dist).entry_points
    except PackageNotFoundError:
        raise PluginError(
            f"{dist} was to be installed and is not there.", hint="see the installer's output"
        ) from None
    return sorted(point.name for point in points if point.group == PROJECT)


def admit(name: str) -> InstalledPlugin:
    """Check one installed plugin; disable it and keep its trace if it is unsound."""
    importlib.invalidate_caches()
    kept = plugin_config.trace_path(name)
    others = [r.name for r in survey().values() if r.status == "ok" and r.name != name]
    loaded = probe.records([name])[name]
    error, trace = _fault(loaded)
    checked: dict[str, Any] = {} if error else probe.plugin_checks(name, others)
    notes, failures = _failed(checked.get("results", ()))
    if failures and not error:
        error, trace = failures[0][0], "\n\n".join(f"{m}\n{t}" for m, t in failures)
    if not error and "error" in checked:
        error, trace = f"its checks ended early: {checked['error']}", checked["output"]
    if error:
        _disable(name, f"{error}\n\n{trace}\n")
        return InstalledPlugin(name, "disabled", error=" ".join(error.split()), trace=str(kept))
    if kept.exists():  # it was disabled by an earlier check
        kept.unlink()
        set_enabled(name, True)
    off = name in plugin_config.read().get("disabled", [])
    return InstalledPlugin(
        name, "off" if off else "ok", tuple(loaded["models"]), notes=tuple(notes)
    )


def _disable(name: str, trace: str) -> None:
    from zoo_core.files import write_atomically

    write_atomically(plugin_config.trace_path(name), trace.encode())
    set_enabled(name, False)


def _fault(loaded: dict[str, Any]) -> tuple[str, str]:
    """Why a plugin did not load as a whole, and its trace; two empty strings if it did."""
    if "output" in loaded:  # the child died
        return str(loaded["error"]), str(loaded["output"])
    problems = "; ".join(loaded["problems"])
    return loaded["error"] or problems, loaded["traceback"]


def _failed(results: Sequence[dict[str, Any]]) -> tuple[list[str], list[tuple[str, str]]]:
    """Failed checks: messages of those only reported, and (message, trace) of the others."""
    failed = [r for r in results if r["status"] == "failed"]
    notes = [r["message"] for r in failed if r["check"] in _NOTES]
    return notes, [(r["message"], r["traceback"]) for r in failed if r["check"] not in _NOTES]
