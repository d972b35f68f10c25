"""`zoo plugins new`: a plugin to start from."""

from pathlib import Path

import click

from zoo_core.cli.command import Command, Settings
from zoo_core.cli.printing import show

__all__ = ["new"]


@click.command("new", cls=Command, example="zoo plugins new my-plugin")
@click.argument("name")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Where it goes (default: ./density-zoo-NAME).",
)
@click.pass_obj
def new(settings: Settings, /, name: str, out: Path | None) -> None:
    """Write a small plugin that works: a model, a recipe, tests, a CI file.

    NAME is of lower-case words, e.g. acme-energy; the distribution is density-zoo-NAME.
    """
    from zoo_core.scaffold import new_plugin

    folder = new_plugin(name, out)
    written = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
    steps = [f"cd {folder}", "pip install -e .", f"zoo plugins check {name}"]
    value = {"name": name, "folder": str(folder), "files": written, "next": steps}
    show(settings, value, [*(f"{folder}/{path}" for path in written), "", *steps])
