"""After an installation: each new plugin is checked in a child process, or disabled.

A plugin that does not load, whose hooks or specs are wrong or whose targets do not import is
disabled and its traceback is kept. A plugin that is slow, imports torch too early or declares a
name of another plugin is reported and stays enabled.
"""

import importlib
from dataclasses import dataclass
from typing import Any, Literal

from zoo_core.catalog import plugin_config
from zoo_core.catalog.plugins import discover, normalized, set_enabled, survey
from zoo_core.errors import PluginError
from zoo_core.files import write_atomically
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


def plugins_of(dist: str) -> list[str]:
    """Names of the plugins that an installed distribution declares."""
    importlib.invalidate_caches()
    names = sorted(p.name for p in discover() if p.dist and normalized(p.dist.name) == dist)
    if not names:
        why = f"{dist} is not installed, or declares no plugin."
        raise PluginError(why, hint=f"see the installer's output; pip uninstall {dist}")
    return names


def admit(name: str) -> InstalledPlugin:
    """Check one installed plugin; disable it and keep its trace if it is unsound."""
    kept = plugin_config.trace_path(name)
    loaded = probe.records([name])[name]
    error, trace, notes = _faults(name, loaded)
    if error:
        write_atomically(kept, f"{error}\n\n{trace}\n".encode())
        set_enabled(name, False)
        return InstalledPlugin(name, "disabled", error=" ".join(error.split()), trace=str(kept))
    if kept.exists():  # it was disabled by an earlier check
        kept.unlink()
        set_enabled(name, True)
    status: Literal["ok", "off"] = "ok" if survey()[name].status == "ok" else "off"
    return InstalledPlugin(name, status, tuple(loaded["models"]), notes=notes)


def _faults(name: str, loaded: dict[str, Any]) -> tuple[str, str, tuple[str, ...]]:
    """Why a plugin is unsound, with its trace, or two empty strings; and what is only noted."""
    error = loaded["error"] or "; ".join(loaded["problems"])
    if error:
        return error, loaded.get("output") or loaded["traceback"], ()
    others = [r.name for r in survey().values() if r.status == "ok" and r.name != name]
    checked = probe.plugin_checks(name, others)
    if "error" in checked:
        return f"its checks ended early: {checked['error']}", checked["output"], ()
    failed = [r for r in checked["results"] if r["status"] == "failed"]
    serious = [r for r in failed if r["check"] not in _NOTES]
    trace = "\n\n".join(f"{r['message']}\n{r['traceback']}" for r in serious)
    notes = tuple(r["message"] for r in failed if r["check"] in _NOTES)
    return serious[0]["message"] if serious else "", trace, notes
