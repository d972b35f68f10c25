"""`zoo list`: models by name, without torch and without the network."""

import click

from zoo_core.catalog.registry import ModelInfo, Registry, current
from zoo_core.cli.command import Command, Settings
from zoo_core.cli.printing import headline, metric_short, remark, show, size_text, table

__all__ = ["command", "likelihood_text"]

_SHOWN = (
    *("name", "family", "density", "likelihood"),
    *("status", "params", "size", "measured", "license", "source"),
)


@click.command("list", cls=Command)
@click.argument("pattern", default="*")
@click.option("--density", metavar="PATTERN", help="Density type, e.g. 'explicit/*'.")
@click.option("--family", metavar="PATTERN", help="Family, e.g. flows.")
@click.option("--license", metavar="PATTERN", help="Licence of the weights, e.g. 'apache*'.")
@click.option(
    "--pretrained/--no-pretrained", default=None, help="Only names with weights, or without."
)
@click.pass_obj
def command(
    settings: Settings,
    pattern: str,
    density: str | None,
    family: str | None,
    license: str | None,
    pretrained: bool | None,
) -> None:
    """List models whose names match PATTERN (a shell pattern, e.g. '*pixel*').

    The likelihood's sign says how its number stands to log p: = equal, >= lower bound,
    <= upper bound, ~ estimate.
    """
    registry = current()
    models = registry.list_models(
        pattern, density=density, family=family, license=license, pretrained=pretrained
    )
    if not models and not settings.json:
        remark(settings, _nothing(registry, pattern))
        return
    rows = [_cells(registry, info) for info in models]
    show(settings, [info.row() for info in models], table(_SHOWN, rows, right="params size"))


def _nothing(registry: Registry, pattern: str) -> str:
    if registry.models:
        return f"no model matches {pattern!r} and these filters; zoo list shows all"
    return "no model is installed; zoo plugins shows what is, and what is wrong with it"


def _cells(registry: Registry, info: ModelInfo) -> list[object]:
    row = info.row()
    row["likelihood"] = likelihood_text(registry, row["likelihood"])
    row["size"] = size_text(row["size"])
    measured = headline(row["metrics"])
    row["measured"] = metric_short(measured) if measured else None
    return [row[key] for key in _SHOWN]


def likelihood_text(registry: Registry, name: str | None) -> str:
    """A likelihood's kind, preceded by the sign of its relation to log p; or `none`."""
    if name is None:
        return "none"
    kinds = [e.spec.kind for e in registry.likelihoods if e.spec.name == name]
    return f"{kinds[0].sign:>2} {kinds[0].name}" if kinds else f" ? {name}"
