"""`zoo push`: a model's folder to the Hub, with a card, in one commit."""

from pathlib import Path
from typing import Any

import click

from zoo_core.cli.command import Command, Settings
from zoo_core.cli.options import hub_options
from zoo_core.cli.printing import fields, show, size_text

__all__ = ["command"]


@click.command(
    "push",
    cls=Command,
    example="zoo push runs/made.digits/model me/made-digits --dry-run",
)
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("repo", metavar="ORG/NAME")
@click.option("--private", is_flag=True, help="Create the repository private.")
@click.option("--create-pr", is_flag=True, help="Open a pull request instead of changing main.")
@click.option("--dry-run", is_flag=True, help="Show what would be sent; make no request.")
@click.option(
    "--samples",
    type=click.IntRange(0),
    default=16,
    metavar="N",
    help="Samples in the picture of the model card (default: 16; 0: no picture).",
)
@hub_options("token", "endpoint")
@click.pass_obj
def command(
    settings: Settings,
    folder: Path,
    repo: str,
    private: bool,
    create_pr: bool,
    dry_run: bool,
    samples: int,
) -> None:
    """Publish FOLDER, as zoo train or model.save() wrote it, as ORG/NAME.

    The model is loaded first and must reproduce its golden tensors. A push that breaks off
    leaves the repository as it was, or with everything.
    """
    from zoo_core.publishing import push

    pushed = push(
        folder,
        repo,
        settings.access,
        private=private,
        create_pr=create_pr,
        dry_run=dry_run,
        samples=samples,
    )
    value: dict[str, Any] = {
        "repo": pushed.repo,
        "commit": pushed.commit,
        "url": pushed.url,
        "files": pushed.files,
        "card": pushed.card,
        "dry_run": dry_run,
    }
    listing = [f"  {size_text(size) or '':>9}  {name}" for name, size in pushed.files.items()]
    head = fields((key, value[key]) for key in ("repo", "commit", "url"))
    show(settings, value, [*head, *listing, *(["", pushed.card] if dry_run else [])])
