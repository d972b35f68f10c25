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
from subprocess import CompletedProcess, TimeoutExpired
from typing import IO

__all__ = ["CompletedProcess", "TimeoutExpired", "environment", "python", "run"]

_SECRET = re.compile(
    r"TOKEN|SECRET|PASS|KEY|CRED|AUTH|COOKIE|BEARER|JWT|_PWD$|(^|_)(PAT|DSN)$", re.IGNORECASE
)
"""Names of variables with credentials. PWD is the current folder; MYSQL_PWD is a password."""
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


def _is_secret(name: str, value: str) -> bool:
    return bool(_SECRET.search(name) or _USER_IN_URL.search(value))


def _without_empty(path: str) -> str:
    """A search path without its empty entries: they mean the current folder, even with `-P`.

    Empty entries are accidents (`$PYTHONPATH:/x` with an unset variable); relative folders stay.
    """
    return os.pathsep.join(filter(None, path.split(os.pathsep)))
