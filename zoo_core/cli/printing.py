"""What commands print: JSON or aligned tables on stdout, remarks on stderr."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import click

from zoo_core.cli.command import Settings
from zoo_core.weights.card import headline, metric_short, metric_text

__all__ = [
    "fields",
    "heading",
    "headline",
    "metric_short",
    "metric_text",
    "remark",
    "show",
    "size_text",
    "table",
]


def show(settings: Settings, value: Any, text: Iterable[str]) -> None:
    """Print `value` as JSON with --json, otherwise the lines of `text`."""
    if settings.json:
        click.echo(json.dumps(value, indent=2, default=str))
    else:
        for line in text:
            click.echo(line)


def remark(settings: Settings, text: str) -> None:
    """A line on stderr, unless --quiet."""
    if not settings.quiet:
        click.echo(text, err=True)


def heading(text: str) -> str:
    return click.style(text, bold=True)


def table(header: Sequence[str], rows: Sequence[Sequence[Any]], right: str = "") -> list[str]:
    """Aligned columns; `right` names the columns to align to the right, separated by spaces."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(header, *cells, strict=True)]
    flush = [name in right.split() for name in header]

    def line(row: Sequence[str]) -> str:
        padded = (
            text.rjust(width) if to_right else text.ljust(width)
            for text, width, to_right in zip(row, widths, flush, strict=True)
        )
        return "  ".join(padded).rstrip()

    return [heading(line(header)), *map(line, cells)]


def fields(values: Iterable[tuple[str, Any]]) -> list[str]:
    """`name   value` lines; empty values are left out."""
    kept = [(name, _cell(value)) for name, value in values if value not in (None, "", (), [])]
    width = max((len(name) for name, _ in kept), default=0)
    return [f"{name:<{width}}  {text}" for name, text in kept]


def size_text(size: int | None) -> str | None:
    """Bytes as people read them, e.g. 3.7 MB."""
    if size is None or size < 1000:
        return None if size is None else f"{size} B"
    exponent = min((len(str(size)) - 1) // 3, 4)
    return f"{size / 1000**exponent:.1f} {'kMGT'[exponent - 1]}B"


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return str(value)
