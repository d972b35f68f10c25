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
from typing import Literal

from zoo_core import child

__all__ = ["Environment", "advice", "here", "kind_of"]

Kind = Literal["venv", "system", "conda", "pipx", "uv tool", "managed"]
_ACTS = ("venv", "system")


@dataclass(frozen=True)
class Environment:
    """An interpreter, its installers, and whether `zoo` may use them."""

    python: str
    prefix: str
    kind: Kind
    uv: str | None
    pip: bool

    @property
    def tool(self) -> Literal["uv", "pip"] | None:
        """uv if it is there, else this interpreter's pip."""
        return "uv" if self.uv else "pip" if self.pip else None

    @property
    def acts(self) -> bool:
        """Whether `zoo` installs here itself, rather than say what to run."""
        return self.kind in _ACTS and self.tool is not None


def here() -> Environment:
    """The environment of the running interpreter."""
    kind = kind_of(Path(sys.prefix), Path(sys.base_prefix), Path(sysconfig.get_path("stdlib")))
    pip = importlib.util.find_spec("pip") is not None
    uv = shutil.which("uv", path=child.environment().get("PATH", os.defpath))
    return Environment(sys.executable, sys.prefix, kind, uv, pip)


def kind_of(prefix: Path, base_prefix: Path, stdlib: Path) -> Kind:
    """Told by the marks that the owners leave."""
    if (prefix / "pipx_metadata.json").exists():
        return "pipx"
    if (prefix / "uv-receipt.toml").exists():
        return "uv tool"
    if (prefix / "conda-meta").is_dir():
        return "conda"
    if prefix != base_prefix:
        return "venv"
    return "managed" if (stdlib / "EXTERNALLY-MANAGED").exists() else "system"


def advice(environment: Environment, command: Sequence[str], names: Sequence[str]) -> list[str]:
    """Commands for the user where `zoo` does not act; `command` is what it would have run.

    `names` are the requirements, `-e` among them where they are editable.
    """
    arguments = shlex.join(names)
    if environment.kind == "pipx":
        flags = "--editable " if "-e" in names else ""
        return [f"pipx inject density-zoo {flags}{shlex.join(n for n in names if n != '-e')}"]
    if environment.kind == "uv tool":
        options = ["--with-editable" if a == "-e" else "--with" for a in ("", *names[:-1])]
        pairs = [(o, n) for o, n in zip(options, names, strict=True) if n != "-e"]
        return [f"uv tool install density-zoo {' '.join(shlex.join(pair) for pair in pairs)}"]
    if environment.kind == "managed":
        return [
            "python3 -m venv ~/.venvs/zoo",
            f"~/.venvs/zoo/bin/python -m pip install density-zoo {arguments}",
        ]
    if environment.tool is None:
        return [f"{shlex.quote(environment.python)} -m ensurepip", shlex.join(command)]
    return [shlex.join(command)]
