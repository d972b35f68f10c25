"""`zoo plugins install | uninstall | sync`: a plan first, then the installer, then a check.

Plugin code is imported in child processes only.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from zoo_core.catalog import plugin_config
from zoo_core.catalog.plugins import CORE, disabled_in_config, survey
from zoo_core.catalog.registry import known_plugins
from zoo_core.cli.command import Command, Settings
from zoo_core.cli.printing import remark, show
from zoo_core.errors import PluginError, UsageError, ZooError, did_you_mean
from zoo_core.installing import manifest
from zoo_core.installing.environment import here
from zoo_core.installing.installer import Options, installed, run, shown, uninstall_command
from zoo_core.installing.plan import Plan, make_plan
from zoo_core.installing.post_install import InstalledPlugin, admit, plugins_of
from zoo_core.installing.requirements import normalized, parse_requirement

__all__ = ["install", "sync", "uninstall"]

_yes = click.option("-y", "--yes", is_flag=True, help="Do not ask.")
_dry_run = click.option("--dry-run", is_flag=True, help="Show the plan and change nothing.")


@click.command("install", cls=Command)
@click.argument("names", nargs=-1, metavar="NAME|REQUIREMENT|WHEEL|FOLDER...")
@click.option("-e", "--editable", "folders", multiple=True, metavar="FOLDER", help="In place.")
@click.option("--index-url", metavar="URL", help="Another package index.")
@click.option("--find-links", multiple=True, metavar="PLACE", help="A folder or page of wheels.")
@click.option("--hash", "hashes", multiple=True, metavar="sha256:HEX", help="Of the one NAME.")
@click.option("--require-hashes", is_flag=True, help="Refuse what comes without a hash.")
@click.option("--upgrade", is_flag=True, help="Newer versions of what is installed.")
@click.option("--pre", is_flag=True, help="Pre-releases too.")
@click.option("--allow-source", is_flag=True, help="Also source distributions; a build runs code.")
@click.option("--no-build-isolation", is_flag=True, help="Build folders with what is installed.")
@_dry_run
@_yes
@click.pass_obj
def install(
    settings: Settings,
    /,
    names: tuple[str, ...],
    folders: tuple[str, ...],
    hashes: tuple[str, ...],
    dry_run: bool,
    yes: bool,
    **flags: Any,
) -> None:
    """Install plugins into this interpreter, and check them.

    A NAME is one of the official short names (flows, vae, ...) or anything that pip takes. The
    plan is shown first: distributions, versions, where they come from. The versions of density-zoo
    and torch stay as they are. uv installs if it is there, else this interpreter's pip. A plugin
    that fails its check is disabled.
    """
    if not names and not folders:
        raise UsageError(
            f"what? Short names: {', '.join(known_plugins())}.", hint="zoo plugins install NAME"
        )
    if hashes and len(names) + len(folders) != 1:
        raise UsageError("--hash is about one NAME.", hint="install them one by one")
    flags["find_links"] = tuple(map(_absolute, flags["find_links"]))
    options = Options(no_index=settings.offline, **flags)
    requirements = [parse_requirement(n, hashes=hashes) for n in names]
    requirements += [parse_requirement(f, editable=True, hashes=hashes) for f in folders]
    plan = make_plan(here(), requirements, options)
    _announce(settings, [plan], dry_run=dry_run)
    if dry_run or not _confirm_plans(settings, [plan], yes):
        return
    installed_plugins = _install(settings, plan)
    show(settings, [o.record() for o in installed_plugins], _report(installed_plugins))
    _end(installed_plugins)


@click.command("uninstall", cls=Command)
@click.argument("name")
@_dry_run
@_yes
@click.pass_obj
def uninstall(settings: Settings, /, name: str, dry_run: bool, yes: bool) -> None:
    """Remove the distribution of the plugin NAME, and forget it."""
    dist = _dist_of(name)
    version, environment = installed(dist), here()
    plugins = plugins_of(dist) if version else manifest.entries()[dist].get("plugins", [])
    command = uninstall_command(environment, [dist]) if version else []
    value = {"dist": dist, "version": version, "plugins": plugins, "command": command}
    text = [
        f"remove   {dist} {version or '(not installed; only forgotten)'}",
        f"plugins  {', '.join(plugins)}",
        f"command  {' '.join(command) or '-'}",
    ]
    if version and not environment.acts:
        raise PluginError(
            f"{environment.kind} manages {environment.prefix}; zoo does not change it.",
            hint=_removal(environment.kind, dist, command),
        )
    if dry_run or not settings.json:
        show(settings, value, text)
    if dry_run or not _confirm(settings, yes):
        return
    if version:
        run(command, quiet=settings.quiet)
    _forget(dist, plugins)
    show(settings, value, [f"{dist} is gone"])


@click.command("sync", cls=Command)
@_dry_run
@_yes
@click.pass_obj
def sync(settings: Settings, /, dry_run: bool, yes: bool) -> None:
    """Install again what zoo installed and is not there, e.g. after an upgrade.

    Exit code 4 if one of them cannot be had; the others are.
    """
    missing = {d: e for d, e in manifest.entries().items() if installed(d) is None}
    plans, failures = _plans(settings, missing)
    _announce(settings, plans, dry_run=dry_run)
    installed_plugins: list[InstalledPlugin] = []
    if not dry_run and plans and _confirm_plans(settings, plans, yes):
        for plan in plans:
            try:
                installed_plugins += _install(settings, plan)
            except ZooError as error:
                failures[plan.requirements[0].requirement] = str(error)
    result = {
        "missing": sorted(missing),
        "plugins": [o.record() for o in installed_plugins],
        "failures": failures,
    }
    lines = [*_report(installed_plugins), *(f"{name}: {why}" for name, why in failures.items())]
    if not dry_run or failures:
        show(settings, result, lines or ["every plugin of the manifest is installed"])
    elif not plans:
        show(settings, result, ["every plugin of the manifest is installed"])
    if failures:
        raise click.exceptions.Exit(PluginError.exit_code)
    _end(installed_plugins)


def _plans(
    settings: Settings, missing: dict[str, dict[str, Any]]
) -> tuple[list[Plan], dict[str, str]]:
    """A plan for each missing distribution, and the errors of those that have none."""
    plans, failures = [], {}
    for dist, entry in missing.items():
        try:
            options = manifest.options_of(entry, no_index=settings.offline)
            plans.append(make_plan(here(), [manifest.requirement_of(entry)], options))
        except ZooError as error:
            failures[dist] = str(error)
    return plans, failures


def _announce(settings: Settings, plans: Sequence[Plan], *, dry_run: bool) -> None:
    """Print the plans: on stdout with --dry-run, otherwise on stderr before asking."""
    lines = [line for plan in plans for line in plan.lines()]
    if dry_run and plans:
        records = [plan.record() for plan in plans]
        show(settings, records[0] if len(plans) == 1 else records, lines)
    elif not dry_run:
        for line in lines:
            remark(settings, line)


def _confirm_plans(settings: Settings, plans: Sequence[Plan], yes: bool) -> bool:
    """Whether to install; raises with a command if another tool manages the environment."""
    commands = [line for plan in plans for line in plan.advice]
    if commands:
        environment = plans[0].environment
        why = f"{environment.kind} environment" if environment.tool else "neither uv nor pip"
        raise PluginError(
            f"zoo does not install into {environment.prefix} ({why}).",
            hint=shown([" && ".join(commands)]),
        )
    return _confirm(settings, yes)


def _confirm(settings: Settings, yes: bool) -> bool:
    if yes:
        return True
    if not sys.stdin.isatty():
        raise UsageError("nobody is there to be asked.", hint="add --yes, or --dry-run to look")
    return click.confirm("Go ahead?", err=True)


def _install(settings: Settings, plan: Plan) -> list[InstalledPlugin]:
    before = {name: r.dist for name, r in survey().items()}
    plan.act(quiet=settings.quiet or settings.json)
    installed_plugins: list[InstalledPlugin] = []
    for requirement in plan.requirements:
        dist = requirement.dist or _new_distribution(before)
        plugins = plugins_of(dist)
        if not plugins:
            raise PluginError(
                f"{dist} is installed and declares no plugin.", hint=f"pip uninstall {dist}"
            )
        manifest.record(
            dist, requirement, plan.options, version=installed(dist) or "?", plugins=plugins
        )
        installed_plugins += [admit(name) for name in plugins]
    return installed_plugins


def _absolute(place: str) -> str:
    """An absolute path; URLs stay."""
    return place if "://" in place else str(Path(place).expanduser().absolute())


def _new_distribution(before: dict[str, str]) -> str:
    """The distribution that an unnamed URL or archive installed."""
    fresh = {r.dist for name, r in survey().items() if name not in before}
    if len(fresh) != 1:
        raise PluginError(
            "it cannot be told what was installed, so nothing was checked.",
            hint="zoo plugins list, then zoo plugins check NAME",
        )
    return fresh.pop()


def _report(installed_plugins: Sequence[InstalledPlugin]) -> list[str]:
    lines = []
    for plugin in installed_plugins:
        models = f"{len(plugin.models)} models: {', '.join(plugin.models[:8])}"
        lines += {
            "ok": [f"{plugin.plugin} is installed; {models if plugin.models else 'no models'}"],
            "off": [
                f"{plugin.plugin} is installed and stays disabled; "
                f"zoo plugins enable {plugin.plugin}"
            ],
            "disabled": [
                f"{plugin.plugin} is installed, failed its check and is disabled: {plugin.error}",
                f"  trace: {plugin.trace}",
            ],
        }[plugin.status]
        lines += [f"  note: {note}" for note in plugin.notes]
    return lines


def _end(installed_plugins: Sequence[InstalledPlugin]) -> None:
    if any(plugin.status == "disabled" for plugin in installed_plugins):
        raise click.exceptions.Exit(PluginError.exit_code)


def _dist_of(name: str) -> str:
    """The distribution of a plugin's name, a short name or a distribution's name."""
    plugins = {r.name: r.dist for r in survey().values()}
    recorded = {p: d for d, e in manifest.entries().items() for p in e.get("plugins", ())}
    known = {**recorded, **plugins}
    dists = {*known.values(), *manifest.entries()}
    conflicts = [r for r in survey().values() if r.name == name and r.status == "conflict"]
    if conflicts and normalized(name) not in dists:
        raise PluginError(f"plugin {name!r}: {conflicts[0].error}.", hint="name the distribution")
    dist = known.get(name) or normalized(name)
    if dist == CORE:
        raise UsageError(f"{name!r} is the core, no plugin.", hint="pip uninstall density-zoo")
    if dist not in dists and not (installed(dist) and plugins_of(dist)):
        names = sorted({*known, *dists})
        raise PluginError(
            f"no plugin {name!r} is installed; there are {', '.join(names) or 'none'}.",
            hint=did_you_mean(name, names) or "zoo plugins list",
        )
    return dist


def _forget(dist: str, plugins: Sequence[str]) -> None:
    manifest.forget(dist)
    left = [name for name in disabled_in_config() if name not in plugins]
    plugin_config.write(disabled=left)
    for name in plugins:
        plugin_config.trace_path(name).unlink(missing_ok=True)


def _removal(kind: str, dist: str, command: Sequence[str]) -> str:
    if kind == "pipx":
        return f"pipx uninject density-zoo {dist}"
    if kind == "uv tool":
        return "uv tool install density-zoo --with ... for each plugin that stays"
    return " ".join(command)
