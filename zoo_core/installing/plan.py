"""The plan of an installation, shown before anything happens."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from zoo_core.catalog.registry import known_plugins
from zoo_core.errors import UsageError
from zoo_core.installing.environment import Environment, manual_command
from zoo_core.installing.installer import Change, Options, install_command, pins, resolve
from zoo_core.installing.requirements import Requirement
from zoo_core.text import hide_credentials

__all__ = ["RIGHTS", "Plan", "make_plan"]

RIGHTS = "plugins run Python code with your rights; there is no sandbox"


@dataclass(frozen=True)
class Plan:
    """What is to be installed, what changes, and by which command."""

    environment: Environment
    asked: Requirement
    options: Options
    changes: list[Change]
    resolved: bool
    command: list[str]
    """Held to the versions of `changes`."""

    @property
    def manual(self) -> str:
        """What the user runs, where `zoo` leaves the environment alone."""
        return hide_credentials(manual_command(self.environment, self.asked, self.command))

    def record(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "environment": asdict(self.environment),
            "changes": [asdict(change) for change in self.changes],
            "resolved": self.resolved,
            "keeps": pins(),
            "command": [hide_credentials(part) for part in self.command],
            "run_yourself": [] if self.environment.acts else [self.manual],
            "note": RIGHTS,
        }

    def lines(self) -> Iterator[str]:
        """The plan as text."""
        yield from (_line(change, self.asked.dist) for change in self.changes)
        if self.resolved and not self.changes:
            yield "everything is installed already; --upgrade looks for newer versions"
        if not self.resolved or self.asked.builds and self.asked.requires is None:
            yield "what else comes with it is known only when it is installed"
        yield f"into     {self.environment.prefix} ({self.environment.kind})"
        yield f"keeps    {', '.join(pins())}"
        yield f"note     {RIGHTS}"
        yield f"{'command' if self.environment.acts else 'yourself'}  {self.manual}"


def make_plan(environment: Environment, asked: Requirement, options: Options) -> Plan:
    """Resolve a requirement; nothing is built, imported or changed."""
    if asked.kind == "source" and not options.get("allow_source"):
        why = f"{asked.text} must be built to be looked at, which runs its code."
        raise UsageError(why, hint="--allow-source, if you trust it")
    resolved = environment.tool is not None and environment.kind != "managed"
    changes = resolve(environment, asked, options) if resolved else []
    versions = [*pins(), *(f"{c.dist}=={c.version}" for c in changes if c.version)]
    command = install_command(environment, asked, options, versions)
    return Plan(environment, asked, options, changes, resolved, command)


def _line(change: Change, asked: str) -> str:
    official = {plugin["dist"] for plugin in known_plugins().values()}
    tier = "third party" if change.dist == asked else "required"
    tier = "official" if change.dist in official else tier
    version = change.version or "version known after its build"
    step = f"{change.before} -> {version}" if change.before else version
    digest = f"  sha256:{change.sha256}" if change.sha256 else ""
    return f"install  {change.dist} {step}  [{tier}]  from {change.source}{digest}"
