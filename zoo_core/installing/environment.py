"""What kind of environment this interpreter lives in, and who may change it.

Venvs and plain interpreters are changed by uv or pip. pipx, uv tools, conda and interpreters that
belong to the system (PEP 668) have an owner who would undo or forbid it; there the user is told
the command that lasts.
"""

import importlib.util
import os
import shlex
import shutil
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from zoo_core import child
from zoo_core.catalog.plugins import survey
from zoo_core.installing.requirements import Requirement

__all__ = ["Environment", "here", "kind_of", "manual_command"]

_MARKS = {"pipx_metadata.json": "pipx", "uv-receipt.toml": "uv tool", "conda-meta": "conda"}
"""Files and folders that the owners of environments leave in them."""


@dataclass(frozen=True)
class Environment:
    """An interpreter, who owns its environment, and its installers."""

    python: str
    prefix: str
    kind: str
    """`venv` or `system`, which `zoo` changes; `pipx`, `uv tool`, `conda` or `managed`."""
    uv: str | None
    pip: bool

    @property
    def tool(self) -> str | None:
        """uv if it is there, else this interpreter's pip."""
        return "uv" if self.uv else "pip" if self.pip else None

    @property
    def acts(self) -> bool:
        """Whether `zoo` installs here itself, rather than say what to run."""
        return self.kind in ("venv", "system") and self.tool is not None


def here() -> Environment:
    """The environment of the running interpreter."""
    kind = kind_of(Path(sys.prefix), Path(sys.base_prefix), Path(sysconfig.get_path("stdlib")))
    pip = importlib.util.find_spec("pip") is not None
    uv = shutil.which("uv", path=child.environment().get("PATH", os.defpath))
    return Environment(sys.executable, sys.prefix, kind, uv, pip)


def kind_of(prefix: Path, base_prefix: Path, stdlib: Path) -> str:
    """The kind of the environment at `prefix`, by the marks of its owner."""
    for mark, kind in _MARKS.items():
        if (prefix / mark).exists():
            return kind
    if prefix != base_prefix:
        return "venv"
    return "managed" if (stdlib / "EXTERNALLY-MANAGED").exists() else "system"


def manual_command(environment: Environment, asked: Requirement, command: Sequence[str]) -> str:
    """What the user runs where `zoo` does not act: the owner's own command, or `command`."""
    name, plugins = shlex.quote(asked.text), sorted({r.dist for r in survey().values()})
    editable, own = "-e " * asked.editable, "~/.venvs/zoo"
    if environment.kind == "pipx":
        return f"pipx inject density-zoo {editable}{name}"
    if environment.kind == "uv tool":  # it is made anew, so the plugins in it are named again
        with_name = f"--with{'-editable' * asked.editable} {name}"
        return " --with ".join([f"uv tool install density-zoo {with_name}", *plugins])
    if environment.kind == "managed":
        return f"python3 -m venv {own} && {own}/bin/pip install density-zoo {editable}{name}"
    ensure_pip = "" if environment.tool else f"{shlex.quote(environment.python)} -m ensurepip && "
    return ensure_pip + shlex.join(command)
