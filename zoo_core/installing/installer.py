"""The command of uv or pip that installs, and what it would change, before it changes anything.

The versions of the core and of torch are constraints of every command. Resolving takes wheels
alone unless source distributions are allowed, since building one runs its code. Neither installer
has a timeout: a wheel may be of any size, and both end requests that make no progress.
"""

import json
import logging
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from zoo_core import child
from zoo_core.catalog.plugins import CORE
from zoo_core.errors import NetworkError, PluginError, ZooError
from zoo_core.installing.environment import Environment
from zoo_core.installing.requirements import Requirement, normalized
from zoo_core.text import printable_lines

__all__ = [
    "KEPT",
    "Change",
    "Options",
    "install_command",
    "installed",
    "pins",
    "resolve",
    "run",
    "shown",
    "uninstall_command",
]

_logger = logging.getLogger(__name__)

KEPT = (CORE, "torch")
"""Distributions whose versions installing a plugin never changes."""
_REACHES_INDEXES = (
    r"(PIP|UV)_(?!PUBLISH_)|(HTTPS?|ALL)_PROXY$|SSH_AUTH_SOCK$|PYTHON_KEYRING_BACKEND$"
)
"""Variables the installer may see though credentials are in them: its own (PIP_INDEX_URL,
UV_INDEX_<NAME>_PASSWORD), proxies, the agent of `git+ssh://`. Other credentials for an index
belong in a keyring, a netrc file or the installer's configuration."""
_UNREACHABLE = (
    "NewConnectionError",
    "Max retries exceeded",
    "name resolution",
    "ConnectTimeout",
    "ProxyError",
    "error sending request",
)
_UNSAFE = re.compile(
    r"[^.;\n]*--(?:break-system-packages|trusted-host|allow-insecure-host)\b[^.;\n]*[.;]?"
)
_USER = re.compile(r"(?<=://)[^/\s@]+@")
_UV_LINE = re.compile(r"^ ([+-]) (\S+?)==(\S+)", re.MULTILINE)


@dataclass(frozen=True)
class Options:
    """What is passed through to the installer."""

    index_url: str | None = None
    find_links: tuple[str, ...] = ()
    no_index: bool = False
    require_hashes: bool = False
    no_build_isolation: bool = False
    allow_source: bool = False
    upgrade: bool = False
    pre: bool = False

    def flags(self, tool: str) -> Iterator[str]:
        if self.index_url:
            yield from ("--default-index" if tool == "uv" else "--index-url", self.index_url)
        for place in self.find_links:
            yield from ("--find-links", place)
        for name in ("no_index", "require_hashes", "no_build_isolation", "upgrade"):
            if getattr(self, name):
                yield f"--{name.replace('_', '-')}"
        if self.pre:
            yield from ("--prerelease", "allow") if tool == "uv" else ("--pre",)


@dataclass(frozen=True)
class Change:
    """A distribution that comes in, or changes its version."""

    dist: str
    version: str | None
    before: str | None
    source: str
    sha256: str | None = None


def installed(dist: str) -> str | None:
    """The version of a distribution in this environment."""
    try:
        return version(dist)
    except PackageNotFoundError:
        return None


def pins() -> list[str]:
    """Constraints that keep the core and torch as they are."""
    if installed(CORE) is None:
        raise PluginError(
            f"{CORE} runs from a folder and is not installed in {sys.prefix}.",
            hint="install it first: pip install density-zoo",
        )
    return [f"{dist}=={version}" for dist in KEPT if (version := installed(dist))]


def install_command(
    environment: Environment,
    requirements: Sequence[Requirement],
    options: Options,
    constraints: Path,
) -> list[str]:
    """The command that installs; hashes go into a requirements file beside the constraints."""
    command = [*_verb(environment, "install"), *options.flags(environment.tool or "pip")]
    command += ["-c", str(constraints)]
    if not options.allow_source and not (environment.uv and any(r.builds for r in requirements)):
        command += ["--only-binary", ":all:"]  # uv would not build the folder that was asked for
    hashed = [r for r in requirements if r.hashes]
    if hashed:
        command += ["-r", str(_requirements_file(constraints, hashed))]
    for requirement in requirements:
        if not requirement.hashes:
            command += ["-e"] * requirement.editable + [requirement.requirement]
    return command


def uninstall_command(environment: Environment, dists: Sequence[str]) -> list[str]:
    sure = ["-y"] if environment.tool == "pip" else []
    return [*_verb(environment, "uninstall"), *sure, *dists]


def shown(command: Sequence[str]) -> str:
    """A command as it may be read over a shoulder: without the users and passwords of URLs."""
    return _USER.sub("****@", " ".join(command))


def resolve(
    environment: Environment, requirements: Sequence[Requirement], options: Options, folder: Path
) -> list[Change]:
    """What installing would change: wheels and index names by the installer's dry run.

    Folders are read, not built: only what they require is resolved.
    """
    direct = [_direct(r) for r in requirements if r.builds]
    asked = [r for r in requirements if not r.builds]
    asked += [
        Requirement(text, "index") for r in requirements if r.builds for text in r.requires or ()
    ]
    if not asked:
        return direct
    constraints = folder / "constraints.txt"
    constraints.write_text("\n".join(pins()) + "\n")
    command = install_command(environment, asked, options, constraints)
    find = _resolve_by_uv if environment.tool == "uv" else _resolve_by_pip
    return [*direct, *find(command, asked)]


def run(command: Sequence[str], *, quiet: bool = False) -> None:
    """Let the installer act; what it prints goes to stderr."""
    shows: dict[str, Any] = {} if quiet else {"out": sys.stderr}
    done = _ask(command, stdin=None, **shows)  # it may ask for the password of an index
    if done.returncode:
        if quiet:
            _logger.error("%s", printable_lines(f"{done.stdout} {done.stderr}"))
        raise PluginError(
            f"the installer ended with {done.returncode}: {shown(command)}.",
            hint="what it printed is above",
        )


def _verb(environment: Environment, verb: str) -> list[str]:
    if environment.uv:
        return [environment.uv, "pip", verb, "--python", environment.python]
    return [environment.python, "-P", "-m", "pip", verb, "--disable-pip-version-check"]


def _requirements_file(constraints: Path, requirements: Sequence[Requirement]) -> Path:
    lines = [
        " ".join(
            [
                f"{r.dist} @ {Path(r.requirement).as_uri()}"
                if r.kind == "wheel"
                else r.requirement,
                *(f"--hash={h}" for h in r.hashes),
            ]
        )
        for r in requirements
    ]
    path = constraints.with_suffix(".hashes.txt")
    path.write_text("\n".join(lines) + "\n")
    return path


def _direct(requirement: Requirement) -> Change:
    name = requirement.dist or requirement.requirement
    before = installed(requirement.dist) if requirement.dist else None
    return Change(name, requirement.version, before, requirement.requirement)


def _resolve_by_pip(command: list[str], requirements: Sequence[Requirement]) -> list[Change]:
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        done = _ask([*command, "--dry-run", "--quiet", "--report", str(report)])
        if done.returncode:
            raise _refusal(done.stderr, requirements)
        items: list[dict[str, Any]] = json.loads(report.read_text())["install"]
    return [_reported(item) for item in items]


def _reported(item: dict[str, Any]) -> Change:
    dist = normalized(item["metadata"]["name"])
    info = item["download_info"]
    hashes = info.get("archive_info", {}).get("hashes", {})
    return Change(
        dist,
        item["metadata"]["version"],
        installed(dist),
        shown([info["url"]]),
        hashes.get("sha256"),
    )


def _resolve_by_uv(command: list[str], requirements: Sequence[Requirement]) -> list[Change]:
    done = _ask([*command, "--dry-run", "--color", "never"])
    if done.returncode:
        raise _refusal(done.stderr, requirements)
    lines = _UV_LINE.findall(done.stdout + done.stderr)
    return [
        Change(normalized(name), new, installed(name), "uv's index, or the file given")
        for sign, name, new in lines
        if sign == "+"
    ]


def _ask(command: Sequence[str], **options: Any) -> child.CompletedProcess[str]:
    return child.run(
        command, timeout=None, keep=_REACHES_INDEXES, variables=_configuration(), **options
    )


def _configuration() -> dict[str, str]:
    """Variables by which uv reads the user's or the machine's configuration, if there is one.

    By itself it would also take the indexes that a uv.toml or pyproject.toml of the current
    folder, or of one above, names. pip has no such files.
    """
    if {"UV_CONFIG_FILE", "UV_NO_CONFIG"} & os.environ.keys():
        return {}
    user = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    places = [folder / "uv" / "uv.toml" for folder in (user, Path("/etc"))]
    config = next((place for place in places if place.is_file()), None)
    return {"UV_CONFIG_FILE": str(config)} if config else {"UV_NO_CONFIG": "1"}


def _refusal(output: str, requirements: Sequence[Requirement]) -> ZooError:
    """Why the installer finds no way, in one line and a hint."""
    said = _said(output)
    if any(sign in output for sign in _UNREACHABLE):
        return NetworkError(
            f"the index cannot be reached: {said}", hint="--find-links FOLDER --offline, or later"
        )
    missing = [r for r in requirements if r.dist and _lacks(output, r.dist)]
    if missing:
        return _unpublished(missing[0], said)
    return PluginError(
        f"the installer finds no versions that fit beside {' and '.join(pins())}: {said}",
        hint="nothing was changed; a plugin that needs another core comes after upgrading it: "
        "pip install --upgrade density-zoo, then zoo plugins sync",
    )


def _said(output: str) -> str:
    """Pip's lines of errors, or what uv says after its `error:`, without unsafe advice."""
    output = _UNSAFE.sub("", output)
    lines = [line.strip() for line in output.splitlines() if "ERROR" in line]
    told = output.partition("error:")[2].partition("\nhint:")[0]
    return " ".join(dict.fromkeys(lines[:3])) or " ".join((told or output).split())[:400]


def _lacks(output: str, dist: str) -> bool:
    """Whether the installer says that it knows no version, or no wheel, of a distribution."""
    name = "[-_.]".join(map(re.escape, dist.split("-")))
    none = (
        rf"\b{name} \(from versions: none\)",
        rf"no versions of {name}(?= and| ?[.,])",
        rf"\b{name} was not found in",
        rf"\b{name}==\S+ has no (usable )?wheels",
    )
    return any(re.search(text, " ".join(output.split()), re.IGNORECASE) for text in none)


def _unpublished(requirement: Requirement, said: str) -> PluginError:
    short = f" ({requirement.alias!r} is short for it)" if requirement.alias else ""
    folder = f"plugins/{requirement.alias}" if requirement.alias else "FOLDER"
    return PluginError(
        f"{requirement.dist}{short} is not published as a wheel where the installer looks: {said}",
        hint=f"a folder of wheels: --find-links FOLDER; a checkout: -e {folder}; "
        "an index of your own: --index-url URL; source distributions: --allow-source",
    )
