"""The plan of an installation, shown before anything happens, and its execution."""

import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from zoo_core.catalog.registry import known_plugins
from zoo_core.errors import UsageError
from zoo_core.files import cache_dir, write_atomically
from zoo_core.installing.environment import Environment, advice
from zoo_core.installing.installer import (
    Change,
    Options,
    install_command,
    pins,
    resolve,
    run,
    shown,
)
from zoo_core.installing.requirements import Requirement, normalized

__all__ = ["RIGHTS", "Plan", "make_plan"]

RIGHTS = "plugins run Python code with your rights; there is no sandbox"


@dataclass(frozen=True)
class Plan:
    """What is to be installed, what changes, by which command, and who runs it."""

    environment: Environment
    requirements: tuple[Requirement, ...]
    options: Options
    changes: tuple[Change, ...]
    command: tuple[str, ...]
    advice: tuple[str, ...]
    """Commands for the user, where `zoo` leaves the environment alone."""
    resolved: bool = True

    def record(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "environment": asdict(self.environment),
            "changes": [asdict(c) for c in self.changes],
            "resolved": self.resolved,
            "keeps": pins(),
            "command": [shown([part]) for part in self.command],
            "run_yourself": [shown([line]) for line in self.advice],
            "note": RIGHTS,
        }

    def lines(self) -> Iterator[str]:
        """The plan as text."""
        for change in self.changes:
            yield _line(change, asked={r.dist for r in self.requirements})
        if not self.changes and self.resolved:
            yield "everything is installed already; --upgrade looks for newer versions"
        if not self.resolved:
            yield "what else comes with it is known only to the command below"
        unread = [r.dist for r in self.requirements if r.builds and r.requires is None]
        if unread:
            yield f"what {', '.join(map(str, unread))} requires is known only after its build"
        yield f"into     {self.environment.prefix} ({self.environment.kind})"
        yield f"keeps    {', '.join(pins())}"
        yield f"note     {RIGHTS}"
        if self.advice:
            yield _owner(self.environment)
            yield from (f"  {shown([line])}" for line in self.advice)
        else:
            yield f"command  {shown(self.command)}"

    def act(self, *, quiet: bool = False) -> None:
        """Run the command, held to the versions that were shown."""
        with _constraints(self.changes) as path:
            run(
                install_command(self.environment, self.requirements, self.options, path),
                quiet=quiet,
            )


def make_plan(
    environment: Environment, requirements: Sequence[Requirement], options: Options
) -> Plan:
    """Resolve the requirements; nothing is built, imported or changed."""
    sources = [r.requirement for r in requirements if r.kind == "source"]
    if sources and not options.allow_source:
        raise UsageError(
            f"{', '.join(sources)} must be built to be looked at, which runs its code.",
            hint="--allow-source, if you trust it",
        )
    changes: list[Change] = []
    resolved = environment.tool is not None and environment.kind != "managed"
    if resolved:
        with tempfile.TemporaryDirectory() as folder:
            changes = resolve(environment, requirements, options, Path(folder))
    path = _kept_constraints()
    command = install_command(environment, requirements, options, path)
    names = [text for r in requirements for text in ("-e", r.requirement)[not r.editable :]]
    say = [] if environment.acts else advice(environment, command, names)
    return Plan(
        environment,
        tuple(requirements),
        options,
        tuple(changes),
        tuple(command),
        tuple(say),
        resolved,
    )


@contextmanager
def _constraints(changes: Sequence[Change]) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "constraints.txt"
        shown = [f"{c.dist}=={c.version}" for c in changes if c.version]
        path.write_text("\n".join([*pins(), *shown]) + "\n")
        yield path


def _kept_constraints() -> Path:
    """The constraints of this environment in the cache, for commands that are printed."""
    prefix = sha256(sys.prefix.encode()).hexdigest()[:8]
    path = cache_dir() / "plugins" / f"constraints-{prefix}.txt"
    write_atomically(path, ("\n".join(pins()) + "\n").encode())
    return path


def _line(change: Change, *, asked: set[str | None]) -> str:
    unofficial = "third party" if change.dist in asked else "required"
    tier = "official" if change.dist in _official() else unofficial
    version = change.version or "version known after its build"
    step = f"{change.before} -> {version}" if change.before else version
    digest = f"  sha256:{change.sha256}" if change.sha256 else ""
    return f"install  {change.dist} {step}  [{tier}]  from {change.source}{digest}"


def _official() -> set[str]:
    return {normalized(plugin["dist"]) for plugin in known_plugins().values()}


def _owner(environment: Environment) -> str:
    """Whose environment it is, and so who runs the commands."""
    if environment.kind == "managed":
        return "This Python belongs to the system (PEP 668). In an environment of your own:"
    if environment.kind in ("pipx", "uv tool", "conda"):
        keeps = {
            "pipx": "a later upgrade keeps only what pipx itself put there",
            "uv tool": "a later upgrade keeps only what uv itself put there; list earlier "
            "plugins again",
            "conda": "what conda can provide, install with conda first",
        }[environment.kind]
        return f"{environment.kind} manages this environment, so run it yourself ({keeps}):"
    return "Neither uv nor pip is there for this interpreter. Run:"
