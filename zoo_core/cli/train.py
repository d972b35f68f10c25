"""`zoo train`: weights from a recipe."""

from pathlib import Path
from typing import Any

import click

from zoo_core.cli.command import Command, Settings
from zoo_core.cli.options import settings_option
from zoo_core.cli.printing import fields, metric_text, show

__all__ = ["command"]


@click.command("train", cls=Command)
@click.option(
    "--recipe",
    required=True,
    metavar="NAME|FILE",
    help="A tag, e.g. made.digits, or a .toml file.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Where checkpoints and the model go (default: runs/<recipe>).",
)
@click.option("--resume", is_flag=True, help="Continue from the last checkpoint in the folder.")
@settings_option("a value of the recipe, e.g. train.steps=100 or model.hidden=64")
@click.pass_obj
def command(
    settings: Settings, recipe: str, out: Path | None, resume: bool, options: dict[str, Any]
) -> None:
    """Train a model by a recipe and save it, with its metrics and golden tensors.

    The folder it prints is what zoo sample and zoo likelihood take, as a path.
    """
    from zoo_core.cli.models import check_device
    from zoo_core.workflows import load_recipe, run_recipe

    loaded = load_recipe(recipe)
    check_device(settings.device)
    folder = run_recipe(
        loaded,
        out or Path("runs") / loaded.name,
        resume=resume,
        overrides=options,
        seed=settings.seed,
        device=settings.device,
        progress=settings.progress,
    )
    value = _value(folder)
    show(settings, value, fields(_shown(value)))


def _value(folder: Path) -> dict[str, Any]:
    from zoo_core.weights.checkpoint import read_metadata

    metadata = read_metadata(folder)
    kept = ("arch", "params", "license", "metrics", "training")
    return {"folder": str(folder), **{k: metadata.get(k) for k in kept}}


def _shown(value: dict[str, Any]) -> list[tuple[str, Any]]:
    metrics = [(f"{m['split']}", metric_text(m)) for m in value["metrics"] or []]
    return [*((k, value[k]) for k in ("arch", "params")), *metrics, ("folder", value["folder"])]
