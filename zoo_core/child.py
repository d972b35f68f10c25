"""Start child processes that run no code of the current folder and see no credentials.

`python -m` and `python -c` put the current folder first on `sys.path`, where a `json.py` that came
with somebody's weights would run. `-P` keeps the folder off the path, and PYTHONSAFEPATH does the
same in grandchildren, such as pip's builds.

No child needs a token, so variables that look like credentials are removed. This is no sandbox: a
child has the user's rights and can read the user's files, e.g. the token of `hf auth login`.
"""

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from subprocess import CompletedProcess, TimeoutExpired
from typing import IO

__all__ = ["CompletedProcess", "TimeoutExpired", "environment", "installer", "python", "run"]

_SECRET = re.compile(
    r"TOKEN|SECRET|PASS|KEY|CRED|AUTH|COOKIE|BEARER|JWT|_PWD$|(^|_)(PAT|DSN)$", re.IGNORECASE
)
"""Names of variables with credentials. PWD is the current folder; MYSQL_PWD is a password."""
_INDEX_VARIABLES = (
    r"(PIP|UV)_(?!PUBLISH_)|(HTTPS?|ALL)_PROXY$|SSH_AUTH_SOCK$|PYTHON_KEYRING_BACKEND$"
)
"""Variables an installer may see though credentials are in them: its own (PIP_INDEX_URL,
UV_INDEX_<NAME>_PASSWORD), proxies, the agent of `git+ssh://`. Other credentials for an index
belong in a keyring, a netrc file or the installer's configuration."""
_USER_IN_URL = re.compile(r"://[^/\s@]+@")
"""Values of variables with credentials, e.g. the URL of a proxy or a database."""


def environment(keep: str | None = None) -> dict[str, str]:
    """This process's variables without credentials and with safe paths.

    Variables whose names start with the pattern `keep`, in any case, are passed on nevertheless.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if keep and re.match(keep, name, re.IGNORECASE) or not _is_secret(name, value)
    }
    paths = {name: _without_empty(kept.pop(name, "")) for name in ("PATH", "PYTHONPATH")}
    return kept | {name: path for name, path in paths.items() if path} | {"PYTHONSAFEPATH": "1"}


def python(
    *arguments: str, timeout: float, variables: Mapping[str, str] | None = None
) -> CompletedProcess[str]:
    """Run this interpreter, as in `python("-m", module, timeout=60)`; see `run`."""
    return run([sys.executable, "-P", *arguments], timeout=timeout, variables=variables)


def run(
    command: Sequence[str],
    *,
    timeout: float | None,
    variables: Mapping[str, str] | None = None,
    keep: str | None = None,
    stdin: int | None = subprocess.DEVNULL,
    out: int | IO[str] = subprocess.PIPE,
) -> CompletedProcess[str]:
    """Run a command and capture its output, unless `out` redirects it.

    `variables` are added to `environment(keep)`. Raises `TimeoutExpired` after `timeout` seconds.
    A caller without a timeout says why, and one that starts Python passes `-P`.
    """
    return subprocess.run(
        command,
        stdin=stdin,
        stdout=out,
        stderr=out,
        text=True,
        errors="replace",
        timeout=timeout,
        env={**environment(keep), **(variables or {})},
        check=False,
    )


def installer(command: Sequence[str], *, report: IO[str] | None = None) -> CompletedProcess[str]:
    """Run a command of uv or pip to its end, its output captured unless it goes to `report`.

    With a `report` it may ask on the terminal, e.g. for the password of an index. There is no
    timeout: a wheel may be of any size, and both installers end requests that make no progress.
    """
    stdin, out = (subprocess.DEVNULL, subprocess.PIPE) if report is None else (None, report)
    variables, keep = _uv_configuration(), _INDEX_VARIABLES
    return run(command, timeout=None, variables=variables, keep=keep, stdin=stdin, out=out)


def _uv_configuration() -> dict[str, str]:
    """Variables by which uv reads the user's or the machine's configuration, if there is one.

    By itself it would also take the indexes that a uv.toml or pyproject.toml of the current
    folder, or of one above, names. pip has no such files.
    """
    if {"UV_CONFIG_FILE", "UV_NO_CONFIG"} & os.environ.keys():
        return {}
    user = Path(os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config"))
    places = [folder / "uv" / "uv.toml" for folder in (user, Path("/etc"))]
    config = next((place for place in places if place.is_file()), None)
    return {"UV_CONFIG_FILE": str(config)} if config else {"UV_NO_CONFIG": "1"}


def _is_secret(name: str, value: str) -> bool:
    return bool(_SECRET.search(name) or _USER_IN_URL.search(value))


def _without_empty(path: str) -> str:
    """A search path without its empty entries: they mean the current folder, even with `-P`.

    Empty entries are accidents (`$PYTHONPATH:/x` with an unset variable); relative folders stay.
    """
    return os.pathsep.join(filter(None, path.split(os.pathsep)))
