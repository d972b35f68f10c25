"""The `zoo` command. A verb is a module here, imported when it is called: parse, call, print."""

import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command on `argv` (default: this process's arguments); returns the exit code."""
    from zoo_core.cli.app import run

    return run(sys.argv[1:] if argv is None else argv)
