"""Child processes, all that the zoo starts: none runs code of the current folder or sees a secret.

`python -m` and `python -c` put the current folder first on `sys.path`, where a `json.py` that came
with somebody's weights would run. `-P` keeps the folder off the path, and PYTHONSAFEPATH does so
in what the child starts in its turn, pip's builds among them.

No child needs the Hub's token, or any other, so variables that look like credentials are left
out. That is no sandbox: a child has the user's rights and could read the user's files, for
example the token that `hf auth login` keeps in a file.
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
"""In a variable's name. PWD is the current folder; MYSQL_PWD is a password."""
_USER_IN_URL = re.compile(r"://[^/\s@]+@")
"""In a variable's value, e.g. of a proxy or a data base."""


def environment(keep: str | None = None) -> dict[str, str]:
    """This process's variables without credentials, and with safe paths.

    `keep` is a pattern, in any case, for the start of the names of those to pass on nevertheless.
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
    """Run a command to its end, its output captured unless `out` says where it goes.

    `variables` are added to `environment(keep)`. Raises `TimeoutExpired` after that many seconds;
    a caller that sets no timeout says why, and one that starts a Python gives it `-P`.
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

    They are slips (`$PYTHONPATH:/x` where it is unset). A relative folder was meant and stays.
    """
    return os.pathsep.join(filter(None, path.split(os.pathsep)))
