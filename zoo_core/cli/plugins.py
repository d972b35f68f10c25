"""`zoo plugins`: what is installed, what is broken, and why.

No verb here imports plugin code in this process: what only an import can tell comes from a child.
"""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from importlib.metadata import metadata
from typing import Any

import click

from zoo_core.catalog.plugin_config import trace_path
from zoo_core.catalog.plugins import config_path, set_enabled, survey
from zoo_core.cli import plugin_install, plugin_new
from zoo_core.cli.command import Group, Settings
from zoo_core.cli.completion import complete
from zoo_core.cli.printing import fields, heading, remark, show, table
from zoo_core.errors import PluginError, did_you_mean
from zoo_core.installing import probe
from zoo_core.text import printable, printable_lines

__all__ = ["command"]

_TROUBLE = PluginError.exit_code


@click.group("plugins", cls=Group, invoke_without_command=True)
@click.pass_context
def command(ctx: click.Context) -> None:
    """What is installed, what is broken, and why. Without a verb: list.

    Plugins are ordinary Python distributions with an entry point in the group density_zoo; they
    run with your rights. They are imported in a child process here, so a broken one is shown and
    does no harm.
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_plugins)


@command.command("list", example="zoo plugins list")
@click.option("--all", "builtin", is_flag=True, help="Also the core's own built-in plugin.")
@click.pass_obj
def list_plugins(settings: Settings, builtin: bool = False) -> None:
    """Installed plugins, their status and models."""
    rows = [_row(record) for record in _records(builtin=builtin).values()]
    cells = [
        [r["name"], r["dist"], r["version"], r["status"], len(r["models"]), _ms(r)] for r in rows
    ]
    if not rows:
        remark(settings, "no plugin is installed; e.g. zoo plugins install autoregressive")
    header = ("name", "dist", "version", "status", "models", "load ms")
    lines = table(header, cells, right="models load ms") if rows else []
    show(settings, rows, [*lines, *_troubles(rows)])


@command.command("info", example="zoo plugins info flows")
@click.argument("name", shell_complete=complete("plugins"))
@click.pass_obj
def info(settings: Settings, name: str) -> None:
    """Where the plugin NAME comes from, and which models it brings."""
    record = _record(name)
    about = metadata(record["dist"])
    row = {
        **_row(record),
        "module": record["module"],
        "summary": about["Summary"],
        "license": about["License-Expression"] or about["License"],
        "requires": about.get_all("Requires-Dist") or [],
        "urls": about.get_all("Project-URL") or [],
    }
    show(settings, row, fields((k.replace("_", " "), v) for k, v in row.items()))


@command.command("enable", example="zoo plugins enable flows")
@click.argument("name", shell_complete=complete("plugins"))
@click.pass_obj
def enable(settings: Settings, name: str) -> None:
    """Load the plugin NAME again."""
    _switch(settings, name, True)


@command.command("disable", example="zoo plugins disable flows")
@click.argument("name", shell_complete=complete("plugins"))
@click.pass_obj
def disable(settings: Settings, name: str) -> None:
    """Do not load the plugin NAME any more, for this user."""
    _switch(settings, name, False)


@command.command("doctor", example="zoo plugins doctor")
@click.argument("name", required=False, shell_complete=complete("plugins"))
@click.pass_obj
def doctor(settings: Settings, name: str | None) -> None:
    """Why a plugin does not work: its error, its traceback and its slow or heavy imports.

    Disabled plugins are diagnosed as well. Exit code 4 if there is something wrong.
    """
    records = {name: _record(name)} if name else _records(disabled=True)
    wrong = [r for r in records.values() if r["error"] or r["problems"] or r["heavy"]]
    lines = [line for record in records.values() for line in _diagnosis(record)]
    show(settings, list(records.values()), lines or ["no plugin is installed"])
    if any(r["status"] not in ("ok", "disabled") or r["problems"] for r in wrong):
        raise click.exceptions.Exit(_TROUBLE)


@command.command("check", example="zoo plugins check flows")
@click.argument("name", shell_complete=complete("plugins"))
@click.pass_obj
def check(settings: Settings, name: str) -> None:
    """Run the conformance checks on the models of the plugin NAME, at their tiny configs.

    Exit code 4 if one fails.
    """
    _known(name)
    others = [r.name for r in survey().values() if r.status == "ok" and r.name != name]
    answer = probe.checks(name, others)
    if "results" not in answer:
        click.echo(printable_lines(answer["output"]), err=True, nl=False)
        raise PluginError(f"plugin {name!r} could not be checked: {answer['error']}.")
    results: list[dict[str, Any]] = answer["results"]
    show(settings, results, _check_lines(name, results))
    if any(r["status"] == "failed" for r in results):
        raise click.exceptions.Exit(_TROUBLE)


for _verb in (
    plugin_install.install,
    plugin_install.uninstall,
    plugin_install.sync,
    plugin_new.new,
):
    command.add_command(_verb)


def _known(name: str) -> None:
    names = list(survey())
    if name not in names:
        raise PluginError(
            f"no plugin {name!r} is installed; installed: {', '.join(names) or 'none'}.",
            hint=did_you_mean(name, names) or "zoo plugins list",
        )


def _record(name: str) -> dict[str, Any]:
    _known(name)
    return _records(only=name, disabled=True)[name]


def _records(
    *, only: str | None = None, disabled: bool = False, builtin: bool = False
) -> dict[str, dict[str, Any]]:
    """Records of the installed plugins, loaded in a child process.

    With `disabled` the disabled plugins are loaded too; they keep their status.
    """
    records = {
        name: {**asdict(record), "models": [], "heavy": []}
        for name, record in survey().items()
        if only in (None, name)
    }
    statuses = ("ok", "disabled") if disabled else ("ok",)
    names = [name for name, record in records.items() if record["status"] in statuses]
    for name, loaded in probe.records(names, builtin=builtin).items():
        records[name] = _merged(records.get(name, {}), loaded)
    return records


def _merged(before: Mapping[str, Any], loaded: Mapping[str, Any]) -> dict[str, Any]:
    if "output" in loaded:  # the child died
        dead = {"error": loaded["error"], "traceback": loaded["output"]}
        return {**before, "status": "failed", **dead}
    if before.get("status") == "disabled":
        return {**loaded, "status": "disabled", "error": loaded["error"] or before["error"]}
    return dict(loaded)


def _row(record: Mapping[str, Any]) -> dict[str, Any]:
    kept = ("name", "dist", "version", "status", "models", "error", "problems")
    return {k: record[k] for k in kept} | {"load_ms": round(1000 * record["seconds"], 1)}


def _ms(row: Mapping[str, Any]) -> str:
    return f"{row['load_ms']:.0f}" if row["load_ms"] else "-"


def _troubles(rows: list[dict[str, Any]]) -> Iterator[str]:
    for row in rows:
        for text in filter(None, [row["error"], *row["problems"]]):
            yield f"{row['name']}: {' '.join(text.split())}"
    if any(row["status"] not in ("ok", "disabled") or row["problems"] for row in rows):
        yield "zoo plugins doctor NAME shows the traceback"


def _diagnosis(record: Mapping[str, Any]) -> Iterator[str]:
    yield heading(
        f"{record['name']}  {record['status']}",
        f"  ({record['dist']} {record['version']}, {len(record['models'])} models, "
        f"{1000 * record['seconds']:.0f} ms)",
    )
    for text in filter(None, [record["error"], *record["problems"]]):
        yield f"  {' '.join(text.split())}"
    if record["heavy"]:
        yield f"  it imports {' and '.join(record['heavy'])}, which slows every command down"
    yield from (f"  | {line}" for line in record["traceback"].splitlines())
    kept = trace_path(record["name"])
    if kept.exists():
        yield f"  it failed its check when it was installed; trace: {kept}"


def _switch(settings: Settings, name: str, enabled: bool) -> None:
    set_enabled(name, enabled)
    state = "enabled" if enabled else "disabled"
    value = {"name": name, "enabled": enabled, "config": str(config_path())}
    show(settings, value, [f"{name} is {state} ({config_path()})"])
    record = survey()[name]
    if enabled and record.status == "disabled":
        print(printable(f"zoo: {name} stays disabled: {record.error}"), file=sys.stderr)


_STATUS_TEXT = {"ok": "ok", "failed": "FAILED", "inapplicable": "-", "inconclusive": "?"}
"""Texts for the status of a check."""


def _check_lines(name: str, results: list[dict[str, Any]]) -> Iterator[str]:
    """One line per check, with its failure below it, and the counts at the end."""
    for r in results:
        status = _STATUS_TEXT[r["status"]]
        yield f"{status:<6}  {r['subject']}  {r['check'].removeprefix('check_').replace('_', ' ')}"
        if r["status"] in ("failed", "inconclusive"):
            yield from (f"        {line}" for line in r["message"].splitlines())
            yield from (f"        | {line}" for line in r["traceback"].splitlines())
    counts = {status: sum(r["status"] == status for r in results) for status in _STATUS_TEXT}
    yield f"{name}: " + ", ".join(f"{count} {status}" for status, count in counts.items())
