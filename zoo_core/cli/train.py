"""`zoo train`: weights from a recipe."""

from pathlib import Path
from typing import Any

import click

from zoo_core.cli.command import Command, Settings
from zoo_core.cli.completion import complete
from zoo_core.cli.options import settings_option
from zoo_core.cli.printing import fields, metric_text, show
from zoo_core.errors import UsageError

__all__ = ["command"]


@click.command(
    "train",
    cls=Command,
    example="zoo train made.digits --out runs/made.digits --set train.steps=100",
)
@click.argument("recipe", metavar="[RECIPE]", required=False, shell_complete=complete("recipes"))
@click.option(
    "--recipe",
    "option",
    metavar="NAME|FILE",
    help="A tag, e.g. made.digits, or a .toml file; the same as RECIPE.",
    shell_complete=complete("recipes"),
)
@click.option(
    "--from",
    "base",
    metavar="NAME",
    help="Weights to start from; without RECIPE, by the recipe of that name.",
    shell_complete=complete("tags"),
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
    settings: Settings,
    recipe: str | None,
    option: str | None,
    base: str | None,
    out: Path | None,
    resume: bool,
    options: dict[str, Any],
) -> None:
    """Train a model by RECIPE and save it, with its metrics and golden tensors.

    The folder it prints is what zoo sample and zoo likelihood take, as a path.
    """
    from zoo_core.cli.models import check_device
    from zoo_core.workflows import load_recipe, run_recipe

    loaded = load_recipe(_recipe(recipe, option, base))
    check_device(settings.device)
    folder = run_recipe(
        loaded,
        out or Path("runs") / loaded.name,
        resume=resume,
        overrides=options,
        seed=settings.seed,
        device=settings.device,
        progress=settings.progress,
        base=base,
    )
    value = _value(folder)
    show(settings, value, fields(_shown(value)))


def _recipe(argument: str | None, option: str | None, base: str | None) -> str:
    """The recipe that is named once, or that of the weights to start from."""
    if argument is not None and option is not None:
        raise UsageError("two recipes are given.", hint="drop --recipe")
    name = argument or option or base
    if name is None:
        raise UsageError(
            "no recipe is given.", hint="name a tag, e.g. made.digits, or a .toml file"
        )
    return name


def _value(folder: Path) -> dict[str, Any]:
    from zoo_core.weights.checkpoint import read_metadata

    metadata = read_metadata(folder)
    kept = ("arch", "params", "license", "metrics", "training", "from")
    return {"folder": str(folder), **{k: metadata.get(k) for k in kept}}


def _shown(value: dict[str, Any]) -> list[tuple[str, Any]]:
    metrics = [(f"{m['split']}", metric_text(m)) for m in value["metrics"] or []]
    return [*((k, value[k]) for k in ("arch", "params")), *metrics, ("folder", value["folder"])]
