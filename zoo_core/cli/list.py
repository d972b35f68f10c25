"""`zoo list`: models by name, without torch and without the network."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import click

from zoo_core.catalog.registry import ModelInfo, Registry, current
from zoo_core.catalog.specs import LikelihoodKind
from zoo_core.cli.command import Command, Settings
from zoo_core.cli.completion import complete
from zoo_core.cli.printing import (
    download_text,
    heading,
    headline,
    metric_short,
    remark,
    show,
    table,
)

__all__ = ["command", "likelihood_text", "published_text"]

_CLASSES = "open, non-commercial, research-only or 'none stated'"

_LONG = (
    *("name", "family", "density", "likelihood"),
    *("status", "params", "size", "measured", "published", "license", "class", "source"),
)
_SHORT = ("name", "likelihood", "status", "measured", "size", "params")
"""Without --long, as many of these as the terminal is wide enough for."""


@click.command("list", cls=Command, example="zoo list '*.digits' --pretrained")
@click.argument("pattern", default="*", shell_complete=complete("models"))
@click.option("--density", metavar="PATTERN", help="Density type, e.g. 'explicit/*'.")
@click.option("--family", metavar="PATTERN", help="Family, e.g. flows.")
@click.option("--license", metavar="PATTERN", help="Licence of the weights, e.g. 'apache*'.")
@click.option("--license-class", metavar="PATTERN", help=f"Class of the licence: {_CLASSES}.")
@click.option(
    "--pretrained/--no-pretrained", default=None, help="Only names with weights, or without."
)
@click.option("--long", is_flag=True, help="Every column in one wide table, sorted by name.")
@click.pass_obj
def command(
    settings: Settings,
    pattern: str,
    density: str | None,
    family: str | None,
    license: str | None,
    license_class: str | None,
    pretrained: bool | None,
    long: bool,
) -> None:
    """List models whose names match PATTERN (a shell pattern, e.g. '*pixel*').

    They are grouped by density type and family, with the columns that the terminal has room for.
    The likelihood's sign says how its number stands to log p: = equal, >= lower bound,
    <= upper bound, ~ estimate. What is `measured` was measured here; what is `published` is what
    the source of the weights reports.
    """
    registry = current()
    models = registry.list_models(
        pattern,
        density=density,
        family=family,
        license=license,
        license_class=license_class,
        pretrained=pretrained,
    )
    if not models and not settings.json:
        remark(settings, _nothing(registry, pattern))
        return
    rows = [_cells(registry, info) for info in models]
    lines = _wide(rows) if long else _grouped(rows)
    show(settings, [info.row() for info in models], lines)


def _wide(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Every column."""
    return table(_LONG, [[row[key] for key in _LONG] for row in rows], right="params size")


def _grouped(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The models of each density type and family under a heading, in aligned columns."""

    def group(row: Mapping[str, Any]) -> str:
        return f"{row['density']}, {row['family']}"

    rows = sorted(rows, key=group)
    header, *lines = _fitting(rows, shutil.get_terminal_size().columns)
    yield header
    for title, members in groupby(zip(rows, lines, strict=True), lambda pair: group(pair[0])):
        yield ""
        yield heading(title)
        yield from (line for _, line in members)


def _fitting(rows: Sequence[Mapping[str, Any]], width: int) -> list[str]:
    """The table with as many of the short columns, from the left, as fit into a width."""
    for count in range(len(_SHORT), 0, -1):
        keys = _SHORT[:count]
        lines = table(keys, [[row[key] for key in keys] for row in rows], right="params size")
        if max(len(click.unstyle(line)) for line in lines) <= width:
            break
    return lines


def _nothing(registry: Registry, pattern: str) -> str:
    if registry.models:
        return f"no model matches {pattern!r} and these filters; zoo list shows all"
    return "no model is installed; zoo plugins shows what is, and what is wrong with it"


def _cells(registry: Registry, info: ModelInfo) -> dict[str, Any]:
    """The texts of a row, by column."""
    row = info.row()
    row["likelihood"] = likelihood_text(registry, row["likelihood"])
    row["size"] = download_text(row["size"], row["params"])
    measured = headline(row["metrics"])
    row["measured"] = metric_short(measured) if measured else None
    row["published"] = published_text(row["published"][0]) if row["published"] else None
    row["status"] += ", untested" if row["untested"] else ""
    row["class"] = row["license_class"]
    return row


def published_text(number: Mapping[str, Any]) -> str:
    """A number that the source of weights reports; a likelihood's with its relation."""
    sign = ""
    if number["relation"] is not None:
        kind = LikelihoodKind(number["name"], number["relation"])
        sign = f"{kind.sign if number['name'] == 'nats' else kind.bits_sign} "
    return f"{number['name']} {sign}{number['value']:.4g}"


def likelihood_text(registry: Registry, name: str | None) -> str:
    """A likelihood's kind, preceded by the sign of its relation to log p; or `none`."""
    if name is None:
        return "none"
    kinds = [e.spec.kind for e in registry.likelihoods if e.spec.name == name]
    return f"{kinds[0].sign:>2} {kinds[0].name}" if kinds else f" ? {name}"
