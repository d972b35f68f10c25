"""`zoo data`: data sets by name."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zoo_core.catalog.registry import Entry, current
from zoo_core.catalog.specs import DatasetSpec
from zoo_core.cli.command import Group, Settings
from zoo_core.cli.completion import complete
from zoo_core.cli.options import OutFile, settings_option
from zoo_core.cli.printing import fields, heading, remark, show, table
from zoo_core.errors import OutputError

if TYPE_CHECKING:
    from zoo_core.data.dataset import Dataset

__all__ = ["command"]

_PICTURED = 64


@click.group("data", cls=Group, invoke_without_command=True)
@click.pass_context
def command(ctx: click.Context) -> None:
    """Data sets: events, splits, licences. Without a verb: list."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_data)


@command.command("list", example="zoo data list")
@click.pass_obj
def list_data(settings: Settings) -> None:
    """Data sets by name, with their licences."""
    entries: list[Entry[DatasetSpec]] = list(current().datasets)
    keys = ("name", "license", "plugin", "summary")
    rows = [
        {"name": e.spec.name, "license": e.spec.license, "plugin": e.plugin.name}
        | {"summary": e.spec.summary}
        for e in entries
    ]
    show(settings, rows, table(keys, [[row[key] for key in keys] for row in rows]))


@command.command("info", example="zoo data info digits --grid digits.png")
@click.argument("name", shell_complete=complete("data"))
@settings_option("an option of the data set")
@click.option(
    "--grid",
    type=OutFile(),
    metavar="FILE",
    help=f"Also write a .png picture of the first {_PICTURED} events of the first split.",
)
@click.pass_obj
def info(settings: Settings, name: str, options: dict[str, Any], grid: Path | None) -> None:
    """What the data set NAME holds: events, condition, splits, licence, provenance.

    NAME may be or carry a path: FILE.npz, FILE.csv, ./FOLDER, npz:FILE, table:FILE,
    folder:FOLDER, binarized_mnist:FOLDER.
    """
    from zoo_core.cli.models import dataset, dataset_options

    data = dataset(settings, name, options)
    value = {
        "name": name,
        "event": {**data.event.record(), "text": str(data.event)},
        "condition": {**data.condition.record(), "text": str(data.condition)},
        "splits": {name: len(split) for name, split in data.splits.items()},
        "truth": data.truth is not None,
        "license": data.license,
        "provenance": data.provenance,
        "options": [dataclasses.asdict(f) for f in dataset_options(name)],
    }
    show(settings, value, _lines(data, value))
    if grid is not None:
        _write_grid(data, grid)
        remark(settings, f"wrote {grid}")


def _write_grid(data: "Dataset", path: Path) -> None:
    """The first events of the first split."""
    from zoo_core.data.batches import read
    from zoo_core.data.writers import write

    if path.suffix.lower() != ".png":
        raise OutputError(f"{path} has suffix {path.suffix!r}; a grid is a .png picture.")
    name, split = next(iter(data.splits.items()))
    x, _ = read(data.event, split, slice(_PICTURED))
    write(path, x, data.event, {"data": data.name, "split": name, "license": data.license})


def _lines(data: "Dataset", value: dict[str, Any]) -> Iterator[str]:
    yield heading(value["name"])
    yield from fields(
        [
            ("event", data.event),
            ("condition", data.condition),
            ("splits", [f"{name} {size:,}" for name, size in value["splits"].items()]),
            ("truth", "log p is known" if value["truth"] else None),
            ("licence", data.license),
            ("provenance", data.provenance),
            ("options", [f"{o['name']}={o['default']}" for o in value["options"]]),
        ]
    )
