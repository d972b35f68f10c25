"""Import plugins in a child process, and report what they do there.

`zoo plugins` never imports plugin code in its own process: a plugin that raises, prints, hangs or
kills its interpreter costs one row. The child is `zoo_core.cli.probe`, which prints one JSON
document on its real stdout; what plugins print goes to stderr.
"""

import json
from collections.abc import Sequence
from typing import Any

from zoo_core.child import TimeoutExpired, python

__all__ = ["checks", "plugin_checks", "records"]

_CHILD = "zoo_core.cli.probe"
TIMEOUT = 30.0
CHECK_TIMEOUT = 1800.0
"""Seconds that a child may take to import plugins, and to check one."""


def records(names: Sequence[str], *, builtin: bool = False) -> dict[str, dict[str, Any]]:
    """A load record for each named plugin, with the models it declares.

    All are loaded in one child; if that one dies or hangs, each is loaded in one of its own.
    """
    names = [*(["builtin"] if builtin else []), *names]
    answer = ask("load", *names) if names else {}
    if "error" not in answer:
        return answer
    if len(names) == 1:
        return {names[0]: answer}
    return {name: record for one in names for name, record in records([one]).items()}


def checks(name: str, others: Sequence[str]) -> dict[str, Any]:
    """`{"results": [...]}` of the conformance checks of a plugin.

    The others are loaded beside it, as in use, unless that ends the child.
    """
    answer = ask("check", name, *others, timeout=CHECK_TIMEOUT)
    return answer if "results" in answer else ask("check", name, timeout=CHECK_TIMEOUT)


def plugin_checks(name: str, others: Sequence[str]) -> dict[str, Any]:
    """The same of the plugin alone: its module, its specs and their targets, not its models."""
    return ask("admit", name, *others, timeout=CHECK_TIMEOUT)


def ask(what: str, *names: str, timeout: float = TIMEOUT) -> dict[str, Any]:
    """The child's answer, or `{"error": ..., "output": ...}` where it gave none."""
    lenient = {"ZOO_STRICT_PLUGINS": "0"}
    try:
        done = python("-m", _CHILD, what, *names, timeout=timeout, variables=lenient)
    except TimeoutExpired as late:
        output = (late.stderr or b"").decode(errors="replace")
        return {"error": f"did not finish in {timeout:g} s", "output": output}
    try:
        answer: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        return {"error": _death(done.returncode), "output": done.stderr}
    return answer


def _death(code: int) -> str:
    return (
        f"its process was killed by signal {-code}" if code < 0 else f"its process exited {code}"
    )
