"""`zoo plugins install | uninstall | sync`: a plan first, then the installer, then a check.

Plugin code is imported in child processes only.
"""

import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import click

from zoo_core.catalog import plugin_config
from zoo_core.catalog.plugins import discover, installed_version, normalized
from zoo_core.catalog.registry import known_plugins
from zoo_core.cli.command import Command, Settings
from zoo_core.cli.completion import complete
from zoo_core.cli.printing import fields, remark, show
from zoo_core.errors import PluginError, UsageError, ZooError, did_you_mean
from zoo_core.files import expanded
from zoo_core.installing import installer, manifest
from zoo_core.installing.environment import here
from zoo_core.installing.plan import Plan, make_plan
from zoo_core.installing.post_install import admit, plugins_of
from zoo_core.installing.requirements import parse_requirement

__all__ = ["install", "sync", "uninstall"]

_yes = click.option("-y", "--yes", is_flag=True, help="Do not ask.")
_dry_run = click.option("--dry-run", is_flag=True, help="Show the plan and change nothing.")


@click.command("install", cls=Command, example="zoo plugins install flows --dry-run")
@click.argument(
    "names",
    nargs=-1,
    metavar="NAME|REQUIREMENT|WHEEL|FOLDER...",
    shell_complete=complete("official plugins"),
)
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
    settings: Settings, /, names: tuple[str, ...], dry_run: bool, yes: bool, **given: Any
) -> None:
    """Install plugins into this interpreter, and check them.

    A NAME is one of the official short names (flows, vae, ...), a requirement such as pip takes,
    a wheel or a folder. The plan is shown first: distributions, versions, where they come from.
    The versions of density-zoo and torch stay as they are. uv installs if it is there, else this
    interpreter's pip. A plugin that fails its check is disabled.
    """
    folders, hashes = given.pop("folders"), given.pop("hashes")
    if not names and not folders:
        what = f"what? Short names: {', '.join(known_plugins())}."
        raise UsageError(what, hint="zoo plugins install NAME")
    if hashes and len(names) + len(folders) != 1:
        raise UsageError("--hash is about one NAME.", hint="install them one by one")
    links = [_absolute(place) for place in given["find_links"]]
    options = {**given, "find_links": links, "hashes": hashes, "no_index": settings.offline}
    requirements = [parse_requirement(name) for name in names]
    requirements += [parse_requirement(folder, editable=True) for folder in folders]
    plans = [make_plan(here(), asked, options) for asked in requirements]
    if dry_run:
        records, lines = [p.record() for p in plans], [line for p in plans for line in p.lines()]
        return show(settings, records[0] if len(plans) == 1 else records, lines)
    plugins = [plugin for plan in plans for plugin in _install(settings, plan, yes)]
    show(settings, plugins, _text(plugins))
    _end(plugins)


@click.command("sync", cls=Command, example="zoo plugins sync --dry-run")
@_dry_run
@_yes
@click.pass_obj
def sync(settings: Settings, /, dry_run: bool, yes: bool) -> None:
    """Install again what zoo installed and is not there, e.g. after an upgrade.

    Exit code 4 if one of them cannot be had; the others are.
    """
    missing = {d: e for d, e in manifest.entries().items() if installed_version(d) is None}
    result: dict[str, Any] = {"missing": sorted(missing), "plugins": [], "failures": {}}
    lines: list[str] = []
    for dist, entry in missing.items():
        try:
            plan = make_plan(here(), *manifest.restore(entry, offline=settings.offline))
            if dry_run:
                result.setdefault("plans", []).append(plan.record())
                lines += plan.lines()
            else:
                result["plugins"] += _install(settings, plan, yes)
        except ZooError as error:
            result["failures"][dist] = str(error)
    lines += [*_text(result["plugins"]), *fields(result["failures"].items())]
    show(settings, result, lines or ["every plugin of the manifest is installed"])
    _end(result["plugins"], failed=bool(result["failures"]))


@click.command("uninstall", cls=Command, example="zoo plugins uninstall flows --dry-run")
@click.argument("name", shell_complete=complete("plugins"))
@_dry_run
@_yes
@click.pass_obj
def uninstall(settings: Settings, /, name: str, dry_run: bool, yes: bool) -> None:
    """Remove the distribution of the plugin NAME, and forget it."""
    dist, environment = _dist_of(name), here()
    version = installed_version(dist)
    plugins = plugins_of(dist) if version else manifest.entries()[dist].get("plugins", [])
    sure = ["-y"] * (environment.tool == "pip")
    command = installer.command(environment, "uninstall", *sure, dist) if version else []
    value = {"dist": dist, "version": version, "plugins": plugins, "command": command}
    if version and not environment.acts:
        why = f"{environment.kind} manages {environment.prefix}; zoo does not change it."
        raise PluginError(why, hint=f"remove {dist} with it")
    if dry_run or not settings.json:
        show(settings, value, fields(value.items()))
    if dry_run:
        return
    _confirm(yes)
    if version:
        installer.run(command, quiet=settings.quiet)
    plugin_config.forget(dist, plugins)
    show(settings, value, [f"{dist} is gone"])


def _install(settings: Settings, plan: Plan, yes: bool) -> list[dict[str, Any]]:
    """Show a plan, ask, carry it out, note it in the manifest and check the plugins."""
    for line in plan.lines():
        remark(settings, line)
    environment, dist = plan.environment, plan.asked.dist
    if not environment.acts:
        kind = f"{environment.kind} environment" if environment.tool else "neither uv nor pip"
        why = f"zoo does not install into {environment.prefix} ({kind})."
        raise PluginError(why, hint=plan.manual)
    _confirm(yes)
    installer.run(plan.command, quiet=settings.quiet or settings.json)
    plugins, version = plugins_of(dist), str(installed_version(dist))
    manifest.record(plan.asked, plan.options, version=version, plugins=plugins)
    return [asdict(admit(name)) for name in plugins]


def _confirm(yes: bool) -> None:
    if not yes and not sys.stdin.isatty():
        raise click.UsageError("nobody is there to be asked: add --yes, or --dry-run to look")
    if not yes and not click.confirm("Go ahead?", err=True):
        raise click.exceptions.Exit(0)


def _text(plugins: Sequence[dict[str, Any]]) -> list[str]:
    return [line for plugin in plugins for line in fields(plugin.items())]


def _absolute(place: str) -> str:
    """An absolute path; URLs stay."""
    return place if "://" in place else str(expanded(place).absolute())


def _end(plugins: Sequence[dict[str, Any]], *, failed: bool = False) -> None:
    if failed or any(plugin["status"] == "disabled" for plugin in plugins):
        raise click.exceptions.Exit(PluginError.exit_code)


def _dist_of(name: str) -> str:
    """The distribution of a plugin's name or a distribution's name, installed or only noted."""
    pairs = [(p.name, normalized(p.dist.name)) for p in discover() if p.dist]
    pairs += [(p, dist) for dist, e in manifest.entries().items() for p in e.get("plugins", ())]
    dists = {dist for plugin, dist in pairs if name == plugin or normalized(name) == dist}
    if len(dists) == 1:
        return dists.pop()
    names = sorted({part for pair in pairs for part in pair})
    what = "several distributions have a" if dists else "no distribution has a"
    why = f"{what} plugin {name!r}; there are {', '.join(names) or 'none'}."
    raise PluginError(why, hint=did_you_mean(name, names) or "zoo plugins list")
