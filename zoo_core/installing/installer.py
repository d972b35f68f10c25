"""Commands of uv or pip, and what they would change, before they change anything.

The versions of the core and of torch are constraints of every command. Resolving takes wheels
alone unless source distributions are allowed, since building one runs its code.
"""

import json
import logging
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from zoo_core import child
from zoo_core.catalog.plugins import CORE, installed_version, normalized
from zoo_core.catalog.registry import known_plugins
from zoo_core.errors import NetworkError, PluginError, ZooError
from zoo_core.files import cache_dir, write_atomically
from zoo_core.installing.environment import Environment
from zoo_core.installing.requirements import Requirement
from zoo_core.text import hide_credentials, printable_lines

__all__ = ["Change", "Options", "command", "install_command", "pins", "resolve", "run"]

_logger = logging.getLogger(__name__)

Options = Mapping[str, Any]
"""What is passed through to the installer, by the option names of `zoo plugins install`."""

_SWITCHES = ("no_index", "require_hashes", "no_build_isolation", "upgrade", "pre")
_UV_LINE = re.compile(r"^ \+ (\S+?)==(\S+)", re.MULTILINE)
_SAID = re.compile(r"error: (.*?)(?: hint: |$)", re.IGNORECASE)
_UNREACHABLE = re.compile(
    r"NewConnectionError|Max retries|name resolution|ConnectTimeout|ProxyError|error sending"
)
_UNPUBLISHED = (
    r"\b{0} (\(from versions: none\)|was not found in)|no versions of {0}(?= and| ?[.,])"
    r"|\b{0}==\S+ has no (usable )?wheels"
)
_UNSAFE = re.compile(
    r"[^.;\n]*--(?:break-system-packages|trusted-host|allow-insecure-host)\b[^.;\n]*[.;]?"
)
"""Advice of the installers to do without a check, which is not repeated."""


@dataclass(frozen=True)
class Change:
    """A distribution that comes in, or changes its version."""

    dist: str
    version: str | None
    before: str | None
    source: str
    sha256: str | None = None


def pins() -> list[str]:
    """Constraints that keep the core and torch as they are."""
    if installed_version(CORE) is None:
        why = f"{CORE} runs from a folder and is not installed in {sys.prefix}."
        raise PluginError(why, hint="install it first: pip install density-zoo")
    return [f"{dist}=={v}" for dist in (CORE, "torch") if (v := installed_version(dist))]


def command(environment: Environment, verb: str, *arguments: str) -> list[str]:
    """A command of uv or pip for this interpreter."""
    if environment.uv:
        return [environment.uv, "pip", verb, "--python", environment.python, *arguments]
    pip = ("-P", "-m", "pip", verb, "--disable-pip-version-check")
    return [environment.python, *pip, *arguments]


def install_command(
    environment: Environment, asked: Requirement, options: Options, versions: Sequence[str]
) -> list[str]:
    """The command that installs what is asked for, held to `versions` (`name==version`)."""
    # with --only-binary uv would not build the folder that was asked for
    wheels = not options.get("allow_source") and not (environment.uv and asked.builds)
    flags = [*_flags(options, wheels=wheels), "-c", _kept(*versions)]
    if hashes := options.get("hashes"):  # they need a requirements file
        text = Path(asked.text).as_uri() if asked.kind == "wheel" else asked.text
        hashed = _kept(" ".join([text, *(f"--hash={digest}" for digest in hashes)]))
        return command(environment, "install", *flags, "-r", hashed)
    return command(environment, "install", *flags, *["-e"] * asked.editable, asked.text)


def resolve(environment: Environment, asked: Requirement, options: Options) -> list[Change]:
    """What installing would change: wheels and index names by the installer's dry run.

    Folders are read, not built: only what they require is resolved.
    """
    if not asked.builds:
        return _dry_run(environment, install_command(environment, asked, options, pins()), asked)
    change = Change(asked.dist, asked.version, installed_version(asked.dist), asked.text)
    flags = [*_flags(options, wheels=not options.get("allow_source")), "-c", _kept(*pins())]
    needed = command(environment, "install", *flags, *(asked.requires or ()))
    return [change, *(_dry_run(environment, needed, asked) if asked.requires else ())]


def run(command: Sequence[str], *, quiet: bool) -> None:
    """Let the installer act; what it prints goes to stderr, with `quiet` only if it fails."""
    done = child.installer(command, report=None if quiet else sys.stderr)
    if done.returncode:
        _logger.error("%s", printable_lines(f"{done.stdout or ''}{done.stderr or ''}"))
        why = f"the installer ended with {done.returncode}: {hide_credentials(' '.join(command))}."
        raise PluginError(why, hint="what it printed is above")


def _flags(options: Options, *, wheels: bool) -> Iterator[str]:
    if url := options.get("index_url"):
        yield from ("--index-url", url)
    for place in options.get("find_links", ()):
        yield from ("--find-links", place)
    yield from (f"--{name.replace('_', '-')}" for name in _SWITCHES if options.get(name))
    yield from ("--only-binary", ":all:") if wheels else ()


def _kept(*lines: str) -> str:
    """A file in the cache, named by its content, since commands that name it are printed."""
    data = "".join(f"{line}\n" for line in lines).encode()
    path = cache_dir() / "plugins" / f"{sha256(data).hexdigest()[:12]}.txt"
    write_atomically(path, data)
    return str(path)


def _dry_run(environment: Environment, install: list[str], asked: Requirement) -> list[Change]:
    report = ["--color", "never"] if environment.uv else ["--quiet", "--report", "-"]
    done = child.installer([*install, "--dry-run", *report])
    if done.returncode:
        raise _refusal(done.stderr, asked.dist)
    read = _uv_changes(done.stderr) if environment.uv else _pip_changes(done.stdout)
    return [Change(dist, new, installed_version(dist), *origin) for dist, new, *origin in read]


def _uv_changes(output: str) -> Iterator[tuple[str, ...]]:
    for name, new in _UV_LINE.findall(output):
        yield normalized(name), new, "uv's index, or the file given"


def _pip_changes(report: str) -> Iterator[tuple[str, ...]]:
    for item in json.loads(report)["install"]:
        about, origin = item["metadata"], item["download_info"]
        digest = origin.get("archive_info", {}).get("hashes", {}).get("sha256")
        yield normalized(about["name"]), about["version"], hide_credentials(origin["url"]), digest


def _refusal(output: str, dist: str) -> ZooError:
    """Why the installer finds no way to a distribution, in one line and a hint."""
    told = " ".join(_UNSAFE.sub("", output).split())
    match = _SAID.search(told)
    said = (match[1] if match else told)[:400]
    if _UNREACHABLE.search(told):
        hint = "--find-links FOLDER --offline, or later"
        return NetworkError(f"the index cannot be reached: {said}", hint=hint)
    name = "[-_.]".join(map(re.escape, dist.split("-")))
    if not re.search(_UNPUBLISHED.format(name), told, re.IGNORECASE):
        why = f"the installer finds no versions that fit beside {' and '.join(pins())}: {said}"
        hint = "nothing was changed; it may need another core: pip install --upgrade density-zoo"
        return PluginError(why, hint=hint)
    alias = next((a for a, known in known_plugins().items() if known["dist"] == dist), None)
    short = f" ({alias!r} is short for it)" if alias else ""
    why = f"{dist}{short} is not published as a wheel where the installer looks: {said}"
    hint = "--find-links FOLDER of wheels, --index-url URL, --allow-source, or a checkout: -e "
    return PluginError(why, hint=hint + (f"plugins/{alias}" if alias else "FOLDER"))
