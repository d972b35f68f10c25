"""`zoo decompress`: the events of a compressed file."""

from pathlib import Path

import click

from zoo_core.cli.command import Command, Settings
from zoo_core.cli.completion import complete
from zoo_core.cli.options import OutFile, hub_options
from zoo_core.cli.printing import show
from zoo_core.errors import DataError

__all__ = ["command"]


@click.command("decompress", cls=Command, example="zoo decompress digits.zoo --out digits.npz")
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=OutFile(), metavar="FILE", help="An .npz or .png file.")
@click.option(
    "--model",
    "name",
    metavar="NAME",
    help="Model (default: the one that FILE names).",
    shell_complete=complete("tags"),
)
@click.option(
    "--block", "blocks", type=int, multiple=True, metavar="I", help="Decode block I (repeatable)."
)
@hub_options()
@click.pass_obj
def command(
    settings: Settings, path: Path, out: Path, name: str | None, blocks: tuple[int, ...]
) -> None:
    """Decode a FILE that `zoo compress` wrote into the events that it was made of.

    A file that is damaged, was written by other weights, or decodes to other events than were
    encoded is an error (exit code 6).
    """
    from zoo_core.cli.models import load
    from zoo_core.compression import api
    from zoo_core.compression.container import parse
    from zoo_core.data.writers import write
    from zoo_core.reading import regular

    try:
        regular(path)
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error}).") from None
    header = parse(data).header
    model = load(settings, name or api.registered_name(header))
    x, cond = api.decompress_with_cond(
        data, model, blocks=blocks or None, progress=settings.progress
    )
    labels = cond if cond is not None and cond.ndim == 1 and not cond.is_floating_point() else None
    write(out, x, model.event, {"model": header.model, "weights": header.weights}, y=labels)
    value = {"out": str(out), "n": len(x), "model": header.model, "blocks": list(blocks)}
    show(settings, value, [f"{len(x):,} events in {out}, as they were encoded"])
