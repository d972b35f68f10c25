"""`zoo doctor`: what runs here, what does not, and what to do about it."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from zoo_core.cli.command import Command, Settings
from zoo_core.cli.printing import heading, remark, show, table
from zoo_core.doctor import Finding, examine, kernel_table
from zoo_core.errors import PluginError

if TYPE_CHECKING:
    from zoo_kernels import BackendStatus

__all__ = ["command"]

_STATUS_TEXT = {"ok": "ok", "note": "note", "problem": "PROBLEM"}


@click.command("doctor", cls=Command, example="zoo doctor")
@click.option("--fix", is_flag=True, help="Mend what can be mended; compiles the C++ kernels.")
@click.pass_obj
def command(settings: Settings, fix: bool) -> None:
    """Show what runs here: Python, torch, kernels, plugins, folders.

    Exit code 4 if something is broken. A note is something that works, but could work better.
    """
    if fix:
        remark(settings, "mending what can be mended; compiling takes a minute or less ...")
    findings = list(examine(fix=fix))
    served = kernel_table()
    value = {
        "checks": [
            {"name": f.name, "plugin": f.plugin, **asdict(f.check), "fixed": f.fixed}
            for f in findings
        ],
        "kernels": [
            {"op": r.op, "backend": r.backend, "serves": r.supported, "reason": r.reason}
            for r in served
        ],
    }
    show(settings, value, _lines(findings, served))
    if any(f.check.status == "problem" for f in findings):
        raise click.exceptions.Exit(PluginError.exit_code)


def _lines(findings: list[Finding], served: list["BackendStatus"]) -> Iterator[str]:
    width = max(len(f.name) for f in findings)
    for finding in findings:
        check = finding.check
        status = "fixed" if finding.fixed else _STATUS_TEXT[check.status]
        yield f"{status:<7}  {finding.name:<{width}}  {check.message}"
        if check.remedy:
            yield f"{'':<7}  {'':<{width}}  -> {check.remedy}"
    if served:
        yield ""
        yield heading("kernels: what serves each op here")
        yield from _kernels(served)


def _kernels(served: list["BackendStatus"]) -> Iterator[str]:
    names = list(dict.fromkeys(row.backend for row in served))
    serves = {(row.op, row.backend): row.supported for row in served}
    ops = list(dict.fromkeys(row.op for row in served))
    rows = [[op, *("yes" if serves[op, name] else "-" for name in names)] for op in ops]
    yield from table(("op", *names), rows)
    reasons = dict.fromkeys(f"{row.backend}: {row.reason}" for row in served if not row.supported)
    yield from reasons
