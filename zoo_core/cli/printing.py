"""Output of the commands: JSON or aligned tables on stdout, remarks on stderr.

Text from files, servers and plugins is made printable here; only a `Heading` keeps the control
characters of its bold type.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import click

from zoo_core import text as texts
from zoo_core.cli.command import Settings
from zoo_core.text import cell, printable, printable_lines
from zoo_core.uncertainty import finite_or_null
from zoo_core.weights.card import headline, metric_short, metric_text

__all__ = [
    "download_text",
    "fields",
    "heading",
    "headline",
    "indented",
    "metric_short",
    "metric_text",
    "remark",
    "show",
    "size_text",
    "table",
]


def show(settings: Settings, value: Any, text: Iterable[str]) -> None:
    """Print `value` as JSON with --json, otherwise the lines of `text`.

    JSON has no infinite numbers and no NaN: they are null.
    """
    if settings.json:
        click.echo(json.dumps(finite_or_null(value), indent=2, default=str))
    else:
        for line in text:
            click.echo(line if isinstance(line, Heading) else printable_lines(line))


def remark(settings: Settings, text: str) -> None:
    """Print a line on stderr, unless --quiet is set."""
    if not settings.quiet:
        click.echo(printable_lines(text), err=True)


class Heading(str):
    """A line in bold type, made of printable text."""


def heading(text: str, rest: str = "") -> Heading:
    """A line of bold text, and the rest of it in plain type."""
    return Heading(click.style(printable(text), bold=True) + printable(rest))


def indented(line: str) -> str:
    """A line two columns further right; a heading stays one."""
    return type(line)(f"  {line}")


def table(header: Sequence[str], rows: Sequence[Sequence[Any]], right: str = "") -> list[str]:
    """Aligned columns under a heading; see `zoo_core.text.table`."""
    first, *rest = texts.table(header, rows, right)
    return [heading(first), *rest]


def fields(values: Iterable[tuple[str, Any]]) -> list[str]:
    """`name   value` lines; empty values are left out."""
    kept = [(name, cell(value)) for name, value in values if value not in (None, "", (), [])]
    width = max((len(printable(name)) for name, _ in kept), default=0)
    return [f"{printable(name):<{width}}  {text}" for name, text in kept]


def download_text(size: int | None, params: int | None) -> str | None:
    """A size; where it is not known, about that of the parameters in single precision."""
    if size is None and params is not None:
        return f"~{size_text(4 * params)}"
    return size_text(size)


def size_text(size: int | None) -> str | None:
    """A number of bytes in decimal units, e.g. 3.7 MB."""
    if size is None or size < 1000:
        return None if size is None else f"{size} B"
    exponent = min((len(str(size)) - 1) // 3, 4)
    return f"{size / 1000**exponent:.1f} {'kMGT'[exponent - 1]}B"
